"""How rows are read: cells, courses, files cut into windows at every byte."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.pipeline.domain.cells import Unreadable, read_amount, read_day, read_moment
from services.pipeline.domain.course import Entry
from services.pipeline.domain.import_problems import TEXTS, Problem, Rejected
from services.pipeline.domain.import_rows import RowReader
from services.pipeline.domain.mapping import CustomerMapping, DealMapping, StageLogMapping
from services.pipeline.domain.mapping_reader import read_mapping
from services.pipeline.domain.tabular import EncodingProbe, Lines, read_csv, read_header, read_ndjson
from services.pipeline.domain.told_course import ToldEntry, course_of_row, merge_entries
from shared.events.pipeline import Stage, StageEntry
from tests.services.pipeline.building import process

ZONE = ZoneInfo("Asia/Shanghai")
PLACES = {
    code: Stage(code, kind, order)  # type: ignore[arg-type]
    for order, (code, kind) in enumerate(
        [("visit", "open"), ("offer", "open"), ("signing", "open"), ("closed", "won"), ("dropped", "lost")]
    )
}


def day(number: int) -> datetime:
    return datetime(2017, 3, number, tzinfo=UTC)


def dated(stage: str, number: int) -> ToldEntry:
    return ToldEntry(stage, day(number), certain=False)


def maybe(stage: str) -> ToldEntry:
    return ToldEntry(stage, None, certain=False)


def surely(stage: str) -> ToldEntry:
    return ToldEntry(stage, None, certain=True)


COURSES: list[tuple[str, list[ToldEntry], str | None, list[tuple[str, int | None]]]] = [
    ("dates decide the order", [dated("offer", 5), dated("visit", 2)], None, [("visit", 2), ("offer", 5)]),
    ("one day: the process decides", [dated("closed", 2), dated("visit", 2)], None, [("visit", 2), ("closed", 2)]),
    ("not reached yet", [maybe("offer")], "visit", [("visit", None)]),
    ("reached at an unknown time", [maybe("offer")], "offer", [("offer", None)]),
    ("passed at an unknown time", [maybe("offer"), dated("closed", 9)], "closed", [("offer", None), ("closed", 9)]),
    ("passed, no present stage told", [maybe("visit"), dated("offer", 3)], None, [("visit", None), ("offer", 3)]),
    ("a later one is not assumed", [dated("visit", 3), maybe("offer"), maybe("closed")], None, [("visit", 3)]),
    ("lost before the offer", [dated("visit", 3), maybe("offer"), dated("dropped", 9)], None, [("visit", 3), ("dropped", 9)]),
    ("lost, in the first stage at least", [maybe("visit"), maybe("offer"), dated("dropped", 9)], "dropped", [("visit", None), ("dropped", 9)]),
    ("lost without the won column", [dated("visit", 3), maybe("closed"), dated("dropped", 9)], "dropped", [("visit", 3), ("dropped", 9)]),
    ("named without a date", [surely("closed")], "closed", [("closed", None)]),
    ("back to an earlier stage", [dated("visit", 7), dated("offer", 5)], "visit", [("offer", 5), ("visit", 7)]),
    ("present stage at an unknown time", [dated("visit", 7)], "signing", [("visit", 7), ("signing", None)]),
    ("closed before it began: as told, in the order of the process", [dated("visit", 9), dated("closed", 3)], "closed", [("visit", 9), ("closed", 3)]),
    ("nothing told", [maybe("visit")], None, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("told", "current", "course"), [case[1:] for case in COURSES], ids=[case[0] for case in COURSES]
)
def test_the_course_that_a_row_tells(
    told: list[ToldEntry], current: str | None, course: list[tuple[str, int | None]]
) -> None:
    wanted = [Entry(stage, None if number is None else day(number)) for stage, number in course]
    assert list(course_of_row(told, current, PLACES)) == wanted


@given(
    st.lists(st.tuples(st.sampled_from(sorted(PLACES)), st.none() | st.integers(1, 28), st.booleans()), max_size=6),
    st.none() | st.sampled_from(sorted(PLACES)),
)
def test_a_told_present_stage_is_where_the_course_ends_and_no_date_is_made_up(
    entries: list[tuple[str, int | None, bool]], current: str | None
) -> None:
    told = [ToldEntry(stage, None if number is None else day(number), certain) for stage, number, certain in entries]
    course = course_of_row(told, current, PLACES)
    assert {entry.at for entry in course} <= {entry.at for entry in told} | {None}
    assert all(Entry(entry.stage, entry.at) in course for entry in told if entry.at is not None)
    if current is not None:
        assert course[-1].stage == current


def recorded(*entries: tuple[str, int | None]) -> list[StageEntry]:
    return [StageEntry(PLACES[stage], None if number is None else day(number)) for stage, number in entries]


@pytest.mark.parametrize(
    ("known", "news", "merged"),
    [
        ([("visit", 1)], ("offer", 5), [("visit", 1), ("offer", 5)]),
        ([("visit", 1), ("offer", 5)], ("offer", 5), [("visit", 1), ("offer", 5)]),
        ([("visit", 1), ("offer", 5)], ("offer", 7), [("visit", 1), ("offer", 5)]),
        ([("visit", 1), ("offer", 5)], ("visit", 3), [("visit", 1), ("offer", 5)]),
        ([("visit", 1), ("offer", 5)], ("signing", 3), [("visit", 1), ("signing", 3), ("offer", 5)]),
        ([("visit", 1), ("offer", 5)], ("offer", 3), [("visit", 1), ("offer", 3)]),
        ([("visit", None)], ("offer", 3), [("visit", None), ("offer", 3)]),
        ([("offer", 5)], ("visit", 3), [("visit", 3), ("offer", 5)]),
        ([("offer", 5)], ("visit", None), [("visit", None), ("offer", 5)]),
    ],
)
def test_news_are_merged_at_their_date(
    known: list[tuple[str, int | None]], news: tuple[str, int | None], merged: list[tuple[str, int | None]]
) -> None:
    told = Entry(news[0], None if news[1] is None else day(news[1]))
    course = merge_entries(recorded(*known), [told], PLACES)
    assert [(entry.stage, entry.at and entry.at.day) for entry in course] == merged
    assert merge_entries([StageEntry(PLACES[each.stage], each.at) for each in course], [told], PLACES) == course


@given(st.permutations([("visit", 1), ("offer", 4), ("signing", 7), ("closed", 9)]))
def test_news_in_whatever_order_give_one_course(news: list[tuple[str, int]]) -> None:
    course: tuple[Entry, ...] = (Entry(news[0][0], day(news[0][1])),)
    for stage, number in news[1:]:
        known = [StageEntry(PLACES[entry.stage], entry.at) for entry in course]
        course = merge_entries(known, [Entry(stage, day(number))], PLACES)
    assert [entry.stage for entry in course] == ["visit", "offer", "signing", "closed"]


@pytest.mark.parametrize(
    ("text", "minor"), [("1054", 105400), ("1,054.5", 105450), ("1054.50", 105450), ("0", 0), ("1e3", 100000)]
)
def test_amounts(text: str, minor: int) -> None:
    assert read_amount(text, "USD") == minor


@pytest.mark.parametrize(
    ("text", "currency", "code"),
    [
        ("1,05", "USD", "not_a_number"),
        ("1_000", "USD", "not_a_number"),
        ("NaN", "USD", "not_a_number"),
        ("", "USD", "not_a_number"),
        ("0.5", "JPY", "not_an_amount"),
        ("1e30", "USD", "not_an_amount"),
        ("-5", "USD", "negative_amount"),
        ("5", "dollars", "not_a_currency"),
    ],
)
def test_what_is_no_amount(text: str, currency: str, code: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_amount(text, currency)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "date_format", "instant"),
    [
        ("2017-03-01", None, datetime(2017, 2, 28, 16, tzinfo=UTC)),
        ("2017/3/1", None, datetime(2017, 2, 28, 16, tzinfo=UTC)),
        ("2017-03-01T00:30:00Z", None, datetime(2017, 3, 1, 0, 30, tzinfo=UTC)),
        ("2017-03-01 08:30", None, datetime(2017, 3, 1, 0, 30, tzinfo=UTC)),
        ("01.03.2017", "%d.%m.%Y", datetime(2017, 2, 28, 16, tzinfo=UTC)),
    ],
)
def test_moments(text: str, date_format: str | None, instant: datetime) -> None:
    assert read_moment(text, ZONE, date_format) == instant


@pytest.mark.parametrize("text", ["2017-02-30", "01.03.2017", "1700-01-01", "soon", "9999-12-31", "17"])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(Unreadable):
        read_moment(text, ZONE)
    with pytest.raises(Unreadable):
        read_day(text)


CSV = ('id,note\r\n1,plain\n2,"two\nlines"\r\n\n3,"say ""hi"""\n4,"open\n5,fine\n6,a,b\n7,"x"y\n8,中文\n').encode()


def in_windows(content: bytes, cut: int, encoding: Any = "utf-8") -> list[tuple[int, bytes, str | None, str | None]]:
    """Read a file in two windows, the first of which ends at `cut`."""
    columns, lines = read_header(content, encoding)
    position, line = lines.position, lines.line
    found = []
    for end in (max(cut, position), len(content)):
        window = Lines(content[position:end], line, encoding, final=end == len(content))
        for record in read_csv(window, columns):
            note = record.cells("note") if record.cells else None
            found.append(
                (record.line, record.raw.rstrip(b"\r\n"), note, record.problem.code if record.problem else None)
            )
        position, line = position + window.position, window.line
    return found


def test_rows_their_lines_and_what_is_no_row() -> None:
    assert [(line, note, code) for line, _, note, code in in_windows(CSV, 0)] == [
        (2, "plain", None),
        (3, "two\nlines", None),
        (6, 'say "hi"', None),
        (7, None, "not_a_record"),
        (8, "fine", None),
        (9, None, "wrong_number_of_cells"),
        (10, None, "not_a_record"),
        (11, "中文", None),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_window_may_end_at_any_byte(encoding: str) -> None:
    content = CSV.decode().replace('4,"open\n', "").encode(encoding)
    whole = in_windows(content, 0, encoding)
    assert len(whole) == 7
    for cut in range(len(content) + 1):
        assert in_windows(content, cut, encoding) == whole, cut


def test_a_byte_that_is_no_text_costs_its_line_only() -> None:
    content = "id,note\n1,中文\n".encode() + b"2,\xff\xfe\n" + "3,好\n".encode()
    probe = EncodingProbe()
    for start, end in pairwise([0, 5, 11, 12, len(content)]):
        probe.feed(content[start:end])
    probe.feed(b"", final=True)
    assert probe.encoding == "utf-8"
    assert [(line, code) for line, _, _, code in in_windows(content, 0)] == [
        (2, None),
        (3, "not_in_encoding"),
        (4, None),
    ]


def test_ndjson_keeps_decimals_exact() -> None:
    lines = Lines(b'{"a": 0.1, "b": {"c": 12345678901234567890}}\n{"a"\n', 1, "utf-8", final=True)
    good, bad = read_ndjson(lines)
    assert good.cells is not None
    assert (good.cells("a"), good.cells("b.c"), good.cells("/b/c"), good.cells("b.d")) == (
        "0.1",
        "12345678901234567890",
        "12345678901234567890",
        None,
    )
    assert (bad.line, bad.problem and bad.problem.code) == (2, "not_an_object")


def codes(kind: Any, raw: object) -> set[tuple[str, str | None]]:
    with pytest.raises(Rejected) as caught:
        read_mapping(kind, raw)
    return {(problem.code, problem.where) for problem in caught.value.problems}


def test_everything_wrong_with_a_mapping_is_found_at_once() -> None:
    assert codes(
        DealMapping,
        {
            "owner": {"column": "a", "constant": "b"},
            "amount": {"column": "a", "currency": "dollars"},
            "stages": [{"at": "a"}, {"stage": "x", "at": {"values": {}}, "when": "a"}],
            "fields": ["a"],
            "date_format": "day",
            "extra": 1,
        },
    ) == {
        ("missing_value", "/external_id"),
        ("wrong_mapping", "/owner"),
        ("not_a_currency", "/amount/currency"),
        ("missing_value", "/stages/0/stage"),
        ("unknown_field", "/stages/1/when"),
        ("wrong_mapping", "/stages/1/at"),
        ("wrong_mapping", "/fields"),
        ("wrong_mapping", "/date_format"),
        ("unknown_field", "/extra"),
    }
    assert codes(CustomerMapping, {}) == {("missing_value", "/external_id")}
    assert codes(StageLogMapping, {}) == {("missing_value", f"/{name}") for name in ("external_id", "stage", "at")}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["column", "values", "constant", "currency", "stage", "at", "external_id", "x"]),
                inner,
                max_size=4,
            )
        ),
    ),
    st.sampled_from(sorted(DealMapping.__struct_fields__)),
)
def test_no_mapping_is_more_than_refused(raw: object, field: str) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        read_mapping(DealMapping, {"external_id": "id", field: raw})
    except Rejected as error:
        problems = error.problems
    assert all(problem.where and problem.text["zh"] and problem.text["en"] for problem in problems)


@given(st.dictionaries(st.sampled_from(["id", "a", "b", "c", "d"]), st.text(max_size=12), min_size=5))
def test_no_row_is_more_than_refused(cells: dict[str, str]) -> None:
    mapping = read_mapping(
        DealMapping,
        {
            "process": "field-sales",
            "external_id": "id",
            "amount": {"column": "a", "currency": {"column": "b"}},
            "stages": [{"stage": "offer", "at": "c"}],
            "current_stage": "d",
            "expected_close_on": "c",
        },
    )
    try:
        told = RowReader({"field-sales": process()}, "field-sales", ZONE).deal(mapping, cells.get).external_id
    except Rejected:
        told = cells["id"].strip()
    assert told == cells["id"].strip()


def test_every_text_is_there_in_both_languages_and_takes_a_value() -> None:
    for code, text in TEXTS.items():
        assert set(text) == {"zh", "en"}, code
        assert text["zh"].format(value="x")
        assert text["en"].format(value="x")
