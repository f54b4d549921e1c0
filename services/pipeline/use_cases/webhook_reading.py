"""A stored message as what it tells about a deal, under the mapping its source has now."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from services.pipeline.crm import KINDS
from services.pipeline.domain.cells import Unreadable, read_moment
from services.pipeline.domain.course import Entry
from services.pipeline.domain.import_problems import Problem, Rejected
from services.pipeline.domain.import_rows import DealRow, RowReader
from services.pipeline.store.sources import Source
from services.pipeline.store.webhooks import Webhook
from services.pipeline.use_cases.sources import mapping_of
from shared.clock import rfc3339

# A clock may be a little ahead; what is further ahead is wrong.
AHEAD = timedelta(minutes=5)


def read_webhook(reader: RowReader, source: Source, message: Webhook, now: datetime, zone: ZoneInfo) -> DealRow:
    """Return the news of a deal: its stage is entered when it happened, or was received where the body does not say.

    Raises Rejected with the reasons for quarantine.
    """
    if message.body is None:
        raise Rejected([Problem("body_expired")])
    told = KINDS[source.kind].read(message.body)
    row = reader.deal(mapping_of(source.kind, source.mapping), told.cells)
    at = _happened_at(told.at, message.received_at, zone)
    if at > now + AHEAD:
        raise Rejected([Problem("in_the_future", "occurred_at", rfc3339(at))])
    known = row.told.copy()
    if free := {**told.fields, **known.get("fields", {})}:
        known["fields"] = free
    return msgspec.structs.replace(
        row, source=source.source, told=known, course=_dated(row.course, at), partial=True, at=at
    )


def late_news(row: DealRow) -> DealRow:
    """Return what an old message may still tell when newer ones are known: the stages it dates, no other field."""
    return msgspec.structs.replace(row, told={}, owner=msgspec.UNSET, customer=msgspec.UNSET)


def _happened_at(text: str, received_at: datetime, zone: ZoneInfo) -> datetime:
    try:
        return read_moment(text, zone) if text else received_at
    except Unreadable as error:
        raise Rejected([Problem(error.code, "occurred_at", text)]) from None


def _dated(course: tuple[Entry, ...], at: datetime) -> tuple[Entry, ...]:
    """The present stage is news of now; other entries are news only with a date."""
    *before, last = course or (None,)
    if last is None:
        return ()
    return (*(entry for entry in before if entry and entry.at), Entry(last.stage, last.at or at))
