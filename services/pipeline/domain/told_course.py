"""The stage entries that one row tells, put into the order in which they happened."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from services.pipeline.domain.course import Entry
from shared.events.pipeline import Stage, StageEntry

Places = Mapping[str, Stage]
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


class ToldEntry(NamedTuple):
    """A stage entry of a row; not `certain` when only a column for its date says that there may be one."""

    stage: str
    at: datetime | None
    certain: bool


def course_of_row(told: Sequence[ToldEntry], current: str | None, places: Places) -> tuple[Entry, ...]:
    """Return the course that a row tells; `current` is its present stage where the row names it.

    - An entry without a date is kept where the row itself names the stage, and where the deal must have been in it: up
      to the present stage of an open or won deal, up to the last dated stage of a lost one. It is never dated.
    - Entries are in the order of their dates, then of the process. Dates that would not end in the present stage
      contradict it: then the order of the process decides, and the dates stay as they are told.
    - A present stage that is not where the entries end is entered at a time nobody knows.
    - A row that tells nothing has no course.
    """
    known = [Entry(entry.stage, entry.at) for entry in told if entry.certain or entry.at is not None]
    here = current or _present(known, places)
    if here is None:
        return ()
    dated = {entry.stage for entry in known if entry.at is not None}
    reach = _reach(known, told, places[here], places)
    known += [
        Entry(entry.stage, None)
        for entry in told
        if not entry.certain and entry.at is None and _was_entered(places[entry.stage], here, reach)
    ]
    known = [entry for entry in dict.fromkeys(known) if entry.at is not None or entry.stage not in dated]
    course = in_order(known, places)
    if course and course[-1].stage != here:
        course = sorted(course, key=lambda entry: places[entry.stage].order)
    if not course or course[-1].stage != here:
        course.append(Entry(here, None))
    return tuple(course)


def _present(known: Sequence[Entry], places: Places) -> str | None:
    """A deal is where it was closed, otherwise where it was last."""
    if not known:
        return None
    last = max(
        known,
        key=lambda entry: (places[entry.stage].kind != "open", entry.at or _BEFORE_ALL, places[entry.stage].order),
    )
    return last.stage


def _reach(known: Sequence[Entry], told: Sequence[ToldEntry], here: Stage, places: Places) -> int:
    """Return the place up to which the deal must have been in every stage that the row has a date for."""
    if here.kind != "lost":
        return here.order
    passed = [places[entry.stage].order for entry in known if places[entry.stage].kind == "open"]
    # A lost deal was at least in the first of them.
    return max(passed, default=min((places[entry.stage].order for entry in told), default=here.order))


def _was_entered(stage: Stage, here: str, reach: int) -> bool:
    return stage.code == here if stage.kind != "open" else stage.order <= reach


def in_order(known: Sequence[Entry], places: Places) -> list[Entry]:
    """Return entries by date, then place; one without a date stands before the first dated one of a later stage."""
    dated = [entry for entry in known if entry.at is not None]
    course = sorted(dated, key=lambda entry: (entry.at or _BEFORE_ALL, places[entry.stage].order))
    undated = sorted((entry for entry in known if entry.at is None), key=lambda entry: places[entry.stage].order)
    for entry in undated:
        course.insert(_index_in_process(course, entry, places), entry)
    return course


def merge_entries(recorded: Sequence[StageEntry], told: Sequence[Entry], places: Places) -> tuple[Entry, ...]:
    """Return the recorded course with the told entries at their dates: a late one never moves a deal back.

    To be told the stage in which a deal was at that time anyway adds nothing; a stage that is known to be entered later
    is then entered earlier. An entry without a date adds a stage that was not known to be entered.
    """
    course = [Entry(entry.stage.code, entry.at) for entry in recorded]
    for entry in told:
        if entry.at is None:
            if all(known.stage != entry.stage for known in course):
                course.insert(_index_in_process(course, entry, places), entry)
            continue
        index = _index_at(course, entry.at)
        if index and course[index - 1].stage == entry.stage:
            continue
        if index < len(course) and course[index].stage == entry.stage:
            course[index] = entry
        else:
            course.insert(index, entry)
    return tuple(course)


def _index_in_process(course: Sequence[Entry], entry: Entry, places: Places) -> int:
    order = places[entry.stage].order
    return next((index for index, known in enumerate(course) if places[known.stage].order > order), len(course))


def _index_at(course: Sequence[Entry], at: datetime) -> int:
    index = len(course)
    while index and (course[index - 1].at or _BEFORE_ALL) > at:
        index -= 1
    return index
