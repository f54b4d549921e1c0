"""Watched values: announced at once, under the right cause, only when they change, never wrong."""

import asyncio
from datetime import date, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from services.kpi.store.generations import held_generation
from services.kpi.store.marks import drop_marks
from services.kpi.use_cases import announcing
from services.kpi.use_cases.watching import announce_new_periods, forget_unwatched
from shared.events.codec import Message, decode, encode
from shared.events.goals import GoalChanged
from shared.events.kpi import Watch
from shared.events.notify import RuleChanged
from shared.tracing import new_cause
from tests.services.kpi.deal_streams import RECORDED, Deal, at
from tests.services.kpi.harness import Kpi
from tests.services.kpi.organisation import ANN, BEN, BLUE, CID, HEAD, PEOPLE, RED, TEAMS

FEBRUARY: dict[str, Any] = {"start": date(2026, 2, 1), "end": date(2026, 3, 1), "grain": "month"}
SHANGHAI = ZoneInfo("Asia/Shanghai")


def goal(*watches: Watch, version: int = 1, number: int = 1, deleted: bool = False) -> GoalChanged:
    return GoalChanged(
        version=version, recorded_at=RECORDED, goal_id=UUID(int=number), kpi="won_amount", scope="org",
        period_start=date(2026, 2, 1), period_end=date(2026, 3, 1), target="1", watches=watches, deleted=deleted,
    )  # fmt: skip


def watch(kpi: str, scope: str = "org", **fields: Any) -> Watch:
    return Watch(kpi=kpi, scope=scope, **FEBRUARY | fields)


def won(when: str, owner: str = "external:ann", amount: int = 100) -> Deal:
    moment = at(when)
    return Deal().created("lead", moment, owner=owner, amount=amount, currency="CNY").moved("won", moment)


async def test_a_new_watch_is_announced_at_once_and_again_for_somebody_new(kpi: Kpi) -> None:
    await kpi.apply(*won("2026-02-03 09:00").messages, goal(watch("won_amount", currency="CNY")))
    [first] = await kpi.announce()
    assert (first.value, first.unit, first.currency, first.sample_size) == ("1.00", "money", "CNY", 1)
    assert (first.period_start, first.period_end) == (date(2026, 2, 1), date(2026, 3, 1))
    await kpi.apply(goal(watch("won_amount", currency="CNY"), version=2))
    assert await kpi.announce() == []
    await kpi.apply(goal(watch("won_amount", currency="CNY"), number=2))
    [again] = await kpi.announce()
    assert (again.value, again.stream) == (first.value, first.stream)
    assert again.version > first.version


async def test_only_changed_values_of_watches_that_are_concerned(kpi: Kpi) -> None:
    watches = [watch("won_count"), watch("won_count", start=date(2026, 3, 1), end=date(2026, 4, 1)), watch("win_rate")]
    await kpi.apply(goal(*watches))
    assert {event.value for event in await kpi.announce()} == {"0", None}
    await kpi.apply(*won("2026-02-03 09:00").messages)
    assert sorted((event.watch.kpi, event.value) for event in await kpi.announce()) == [
        ("win_rate", "1.000000"),
        ("won_count", "1"),
    ]
    # Created, but nothing watched changes.
    await kpi.apply(*Deal().created("lead", at("2026-02-04 09:00")).messages)
    assert await kpi.announce() == []
    # The ratio stays, its sample grows: who asks for a minimum of cases must hear of it.
    await kpi.apply(*won("2026-02-05 09:00").messages)
    assert {(event.watch.kpi, event.value, event.sample_size) for event in await kpi.announce()} == {
        ("win_rate", "1.000000", 2),
        ("won_count", "2", 2),
    }


async def test_money_without_currency_is_announced_per_currency(kpi: Kpi) -> None:
    await kpi.apply(goal(watch("won_amount")))
    [nothing] = await kpi.announce()
    assert (nothing.value, nothing.currency, nothing.reason) == (None, None, "no_data")
    dollars = won("2026-02-03 09:00").changed(currency="USD")
    await kpi.apply(*won("2026-02-03 09:00").messages, *dollars.messages)
    assert {(event.currency, event.value) for event in await kpi.announce()} == {("CNY", "1.00"), ("USD", "1.00")}
    await kpi.apply(dollars.deleted().messages[-1])
    assert [(event.currency, event.value) for event in await kpi.announce()] == [("USD", "0.00")]


async def test_a_count_that_is_watched_with_a_currency_counts_all_deals(kpi: Kpi) -> None:
    await kpi.apply(goal(watch("won_count", currency="USD")), *won("2026-02-03 09:00").messages)
    [event] = await kpi.announce()
    assert (event.value, event.currency) == ("1", None)


async def test_team_and_person_watches_follow_the_directory(kpi: Kpi) -> None:
    scopes = [f"person:{ANN}", f"team:{RED}", f"team:{BLUE}", f"team:{HEAD}", f"person:{BEN}"]
    await kpi.apply(*TEAMS, goal(*(watch("won_count", scope) for scope in scopes)))
    await kpi.announce()
    await kpi.apply(*won("2026-02-03 09:00", "external:ann").messages, *won("2026-02-03 09:00", str(CID)).messages)
    # Nobody knows yet who ann is.
    assert await kpi.announce() == []
    await kpi.apply(*PEOPLE)
    assert {(event.watch.scope, event.value) for event in await kpi.announce()} == {
        (f"person:{ANN}", "1"),
        (f"team:{RED}", "1"),
        (f"team:{BLUE}", "1"),
        (f"team:{HEAD}", "2"),
    }
    await kpi.apply(*won("2026-02-04 09:00", "external:ann").messages)
    assert {event.watch.scope: event.value for event in await kpi.announce()} == {
        f"person:{ANN}": "2",
        f"team:{RED}": "2",
        f"team:{HEAD}": "3",
    }


async def test_a_value_is_announced_under_the_cause_of_the_event_behind_it(kpi: Kpi) -> None:
    people = f"person:{ANN}", f"person:{BEN}"
    await kpi.apply(*TEAMS, *PEOPLE, goal(*(watch("won_count", scope) for scope in people)))
    await kpi.announce()
    causes = {scope: new_cause() for scope in people}
    deals = {scope: won("2026-02-03 09:00", scope.removeprefix("person:")) for scope in people}
    await kpi.apply(*(encode(event, causes[scope]) for scope, deal in deals.items() for event in deal.events))
    await step(kpi)
    rows = await kpi.rows("SELECT topic, key, headers, value FROM outbox")
    assert len(rows) == 2
    for row in rows:
        scope = decode(Message(row.topic, row.key, row.headers, row.value)).watch.scope  # type: ignore[attr-defined]
        assert row.headers["ce_correlationid"] == causes[scope].correlation_id
        assert row.headers["ce_causationid"] == str(deals[scope].events[-1].id)


async def test_the_newest_set_of_watches_wins_and_nobodys_watches_go(kpi: Kpi) -> None:
    await kpi.apply(goal(watch("won_count"), watch("lost_count"), version=5))
    await kpi.apply(goal(watch("deals_created"), version=4))
    rule = RuleChanged(version=1, recorded_at=RECORDED, rule_id=ANN, watches=(watch("won_count"),))
    await kpi.apply(rule, goal(watch("win_rate"), version=6))
    await forget_unwatched(kpi.database, kpi.clock)
    assert sorted(row.kpi for row in await kpi.rows("SELECT kpi FROM watch")) == ["win_rate", "won_count"]
    await kpi.apply(goal(version=7, deleted=True))
    await forget_unwatched(kpi.database, kpi.clock)
    assert [row.kpi for row in await kpi.rows("SELECT kpi FROM watch")] == ["won_count"]


async def test_watches_without_sense_do_not_stop_the_others(kpi: Kpi) -> None:
    nonsense = [
        watch("happiness"),
        watch("won_amount", currency="yuan"),
        watch("won_count", "team:no-such-team"),
        watch("won_count", "planet:earth"),
        watch("won_count", start=date(2026, 3, 1), end=date(2026, 2, 1)),
        Watch(kpi="won_count", scope="org", grain="total"),
    ]
    await kpi.apply(goal(*nonsense, watch("won_count")), *won("2026-02-03 09:00").messages)
    values = [(event.watch.scope, event.watch.grain, event.value) for event in await kpi.announce()]
    assert ("org", "month", "1") in values
    assert ("org", "total", "1") in values
    assert {value for scope, _, value in values if scope != "org"} == {"0"}


async def test_a_rolling_watch_begins_a_new_period_by_itself(kpi: Kpi) -> None:
    rolling = Watch(kpi="won_count", scope="org", grain="day")
    await kpi.apply(*won("2026-11-23 01:00").messages, goal(rolling))
    [today] = await kpi.announce()
    assert (today.value, today.period_start) == ("1", date(2026, 11, 23))
    await announce_new_periods(kpi.database, kpi.clock, SHANGHAI)
    assert await kpi.announce() == []
    # 16:00 UTC is midnight in Shanghai.
    kpi.clock.now = at("2026-11-23 16:00") - timedelta(microseconds=10)
    await announce_new_periods(kpi.database, kpi.clock, SHANGHAI)
    assert await kpi.announce() == []
    kpi.clock.now = at("2026-11-23 16:00")
    await announce_new_periods(kpi.database, kpi.clock, SHANGHAI)
    [tomorrow] = await kpi.announce()
    assert (tomorrow.value, tomorrow.period_start) == ("0", date(2026, 11, 24))


async def test_versions_grow_even_when_the_clock_goes_back(kpi: Kpi) -> None:
    await kpi.apply(goal(watch("won_count")))
    [first] = await kpi.announce()
    kpi.clock.now -= timedelta(days=1)
    await kpi.apply(*won("2026-02-03 09:00").messages)
    [second] = await kpi.announce()
    assert second.version == first.version + 1


async def test_no_write_skew_between_folds_on_different_days_of_a_month(
    kpi: Kpi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold that commits while the announcer works is either in its sum or announced after it: never lost."""
    await kpi.apply(goal(watch("won_count")))
    await kpi.announce()
    days = [f"2026-02-{day:02} 09:00" for day in range(1, 25)]

    async def late(tx: Any) -> int:
        # Between the marks taken and the sums read, another fold commits.
        if days:
            await kpi.apply(*won(days.pop()).messages)
        return await held_generation(tx)

    async def latest(tx: Any, ids: Any) -> None:
        # And between the sums read and the marks dropped, another one.
        if days:
            await kpi.apply(*won(days.pop()).messages)
        await drop_marks(tx, ids)

    monkeypatch.setattr(announcing, "held_generation", late)
    monkeypatch.setattr(announcing, "drop_marks", latest)
    announced: list[str | None] = []
    while days:
        await asyncio.gather(kpi.apply(*won(days.pop()).messages), kpi.apply(*won(days.pop()).messages))
        announced += [event.value for event in await kpi.announce()]
    assert announced[-1] == await kpi.value("won_count", from_="2026-02-01", to="2026-03-01")
    assert announced == sorted(announced, key=lambda value: int(value or 0))
    assert await kpi.rows("SELECT id FROM touched") == []


async def test_announced_values_can_be_exported_and_followed(kpi: Kpi) -> None:
    await kpi.apply(goal(watch("won_count"), watch("won_amount", currency="CNY")), *won("2026-02-03 09:00").messages)
    announced = {event.stream: event for event in await kpi.announce()}
    page = await kpi.get("/exports/kpi.values.v1", limit=1)
    rest = await kpi.get("/exports/kpi.values.v1", limit=5, cursor=page["next_cursor"])
    told = {item["key"]: item["value"] for item in page["items"] + rest["items"]}
    assert {key: value["version"] for key, value in told.items()} == {
        key: event.version for key, event in announced.items()
    }
    one = next(iter(announced.values()))
    newer = await kpi.get("/exports/kpi.values.v1", stream=one.stream, after_version=one.version - 1)
    assert [item["key"] for item in newer["items"]] == [one.key]
    assert (await kpi.get("/exports/kpi.values.v1", stream=one.stream, after_version=one.version))["items"] == []
    feed = await kpi.rows("SELECT seq, scope, data FROM feed_entry ORDER BY seq")
    assert [(row.seq, row.scope) for row in feed] == [(1, "org"), (2, "org")]
    assert {row.data["value"] for row in feed} == {"1", "1.00"}


async def step(kpi: Kpi) -> None:
    announcer: Any = kpi.service.loops[0].run.__self__  # type: ignore[attr-defined]
    assert await announcer.step()
