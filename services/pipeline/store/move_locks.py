"""Locks the deals of a batch of moves and reads, in the same statement, all that decides them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.deal import Deal, Task
from services.pipeline.store.deals import to_deal
from services.pipeline.store.owners import Owner, unresolved
from services.pipeline.store.tables import deal
from shared.db.statements import Statement

_deal_columns = ", ".join(f"deal.{each.name}" for each in deal.c)
# A row that had to be waited for is the newest one, but the subselects still see what was there before the wait:
# `seen_version` tells. Subselects, not joins: a join would be checked again against the row as it was.
_LOCK = Statement(
    f"""
    SELECT {_deal_columns},
        (SELECT seen.version FROM deal AS seen WHERE seen.id = deal.id) AS seen_version,
        (SELECT CAST(json_agg(task ORDER BY task.id) AS text) FROM task
         WHERE task.deal_id = deal.id AND task.visit = deal.visit) AS tasks,
        (SELECT CAST(json_build_array(person_id, external_id, true) AS text) FROM directory_person
         WHERE NOT deleted AND (
             person_id = CASE WHEN owner NOT LIKE 'external:%' THEN CAST(owner AS uuid) END
             OR external_id = CASE WHEN owner LIKE 'external:%' THEN substr(owner, 10) END)
         ORDER BY directory_person.version DESC LIMIT 1) AS person
    FROM deal
    WHERE id = ANY(CAST($1 AS uuid[])) AND status <> 'deleted'
    ORDER BY id
    FOR UPDATE OF deal
    """  # noqa: S608 - made of column names only
)

_tasks = msgspec.json.Decoder(tuple[Task, ...])
_person = msgspec.json.Decoder(Owner)


class LockedDeal(NamedTuple):
    """A locked deal, the tasks of its present visit, and its owner (None: nobody)."""

    deal: Deal
    tasks: Sequence[Task]
    owner: Owner | None


async def lock_for_moves(tx: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, LockedDeal]:
    """Lock deals in the order of their ids; those that do not exist or are deleted are left out."""
    rows = await _read(tx, ids)
    waited_for = [row["id"] for row in rows if row["seen_version"] != row["version"]]
    if waited_for:
        # They are ours now: nothing changes any more between the lock and what is read.
        again = {row["id"]: row for row in await _read(tx, waited_for)}
        rows = [again.get(row["id"], row) for row in rows]
    return {row["id"]: _locked(row) for row in rows}


async def _read(tx: AsyncConnection, ids: Collection[UUID]) -> Sequence[Any]:
    return await _LOCK.fetch(tx, sorted(ids))


def _locked(row: Any) -> LockedDeal:
    tasks, person, owner = row["tasks"], row["person"], row["owner"]
    known = _person.decode(person) if person else unresolved(owner) if owner else None
    return LockedDeal(to_deal(row), _tasks.decode(tasks) if tasks else (), known)
