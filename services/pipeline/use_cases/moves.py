"""Moves of deals: whatever commands wait become one transaction with one write. HTTP, webhooks and imports use it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.pipeline.domain.criteria import Unmet
from services.pipeline.domain.deal import Deal, Task
from services.pipeline.domain.gate import unknown_move, unmet_criteria
from services.pipeline.domain.move import Move, Moved, Refused, decide_move
from services.pipeline.domain.process import Process
from services.pipeline.store.changes import write_changes
from services.pipeline.store.deals import OwnerKeys, find_deal, sees
from services.pipeline.store.move_locks import LockedDeal, lock_for_moves
from services.pipeline.store.owners import Owner
from services.pipeline.store.processes import ProcessKey
from services.pipeline.store.tasks import tasks_of_present_visits
from services.pipeline.use_cases.context import Context
from services.pipeline.use_cases.errors import MoveRefused, NotFound, Stale
from services.pipeline.use_cases.visibility import visible_keys
from shared.auth.principal import Principal
from shared.db.faultpoints import faultpoint
from shared.events.base import Names
from shared.tracing import Cause
from shared.web.conditions import matches
from shared.web.idempotency import StoredKey, StoredReply, find_replies, store_replies

ALREADY_IN_STAGE = "already_in_stage"
EncodedReply = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body."""


class MoveOutcome(NamedTuple):
    """A deal after its move. `owner` is None for a deal that nobody owns."""

    moved: Moved
    move: Move
    process: Process
    owner: Owner | None

    @property
    def from_stage(self) -> str:
        before = self.moved.event.before
        return before.stage.code if before else self.move.to_stage


class Replay(NamedTuple):
    """What was answered to an earlier command with the same key."""

    key: StoredKey
    stored: StoredReply


@dataclass(frozen=True, slots=True)
class MoveCommand:
    """A move that somebody (`principal`; the system itself when None) wants of a deal.

    `if_match` names the versions that the caller may have seen. With `key`, what `reply` makes of the outcome is stored
    in the same transaction, and a command with the same key is answered by it.
    """

    deal_id: UUID
    move: Move
    principal: Principal | None
    actor: str | None
    cause: Cause
    if_match: str | None = None
    key: StoredKey | None = None
    reply: Callable[[MoveOutcome], EncodedReply] | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the decisions of a batch need, read under the locks of its deals."""

    deals: Mapping[UUID, LockedDeal]
    processes: Mapping[ProcessKey, Process]
    sight: Mapping[Principal | None, OwnerKeys]
    replies: Mapping[StoredKey, StoredReply]


async def apply_moves(context: Context, commands: Sequence[MoveCommand]) -> Sequence[MoveOutcome | Replay | Exception]:
    """Apply moves of different deals in one transaction; each has its own outcome, replay or refusal.

    A refusal is NotFound, Stale or MoveRefused.
    """
    async with context.database.transaction() as tx:
        batch = await _lock(tx, context, commands)
        results = [_decide(context, batch, command) for command in commands]
        done = [
            (command, result)
            for command, result in zip(commands, results, strict=True)
            if isinstance(result, MoveOutcome)
        ]
        await write_changes(tx, [outcome.moved.change for _, outcome in done], [command.cause for command, _ in done])
        await store_replies(
            tx, [(command.key, *command.reply(outcome)) for command, outcome in done if command.key and command.reply]
        )
        faultpoint("moves.written")
    faultpoint("moves.committed")
    return results


async def _lock(tx: AsyncConnection, context: Context, commands: Sequence[MoveCommand]) -> _Batch:
    sight = {who: await visible_keys(tx, who) for who in {command.principal for command in commands}}
    deals = await lock_for_moves(tx, {command.deal_id for command in commands})
    return _Batch(
        deals,
        await context.processes.load(tx, {(deal.process, deal.process_version) for deal, *_ in deals.values()}),
        sight,
        await find_replies(tx, [command.key for command in commands if command.key]),
    )


def _decide(context: Context, batch: _Batch, command: MoveCommand) -> MoveOutcome | Replay | Exception:
    locked = batch.deals.get(command.deal_id)
    if locked is None or not sees(batch.sight[command.principal], locked.deal.owner):
        return NotFound("deal")
    if command.key is not None and command.key in batch.replies:
        return Replay(command.key, batch.replies[command.key])
    deal = locked.deal
    if not matches(command.if_match, deal.version):
        return Stale(deal.version)
    process = batch.processes[deal.process, deal.process_version]
    recording = context.recording(command.actor, deal.updated_at)
    moved = decide_move(process, deal, locked.tasks, command.move, recording)
    if isinstance(moved, Refused):
        return MoveRefused(moved)
    return MoveOutcome(moved, command.move, process, locked.owner)


class MoveOption(NamedTuple):
    """A stage of a deal's process, and every criterion that keeps the deal from moving there now."""

    to_stage: str
    allowed: bool
    unmet: tuple[Unmet, ...]
    needs_lost_reason: bool


async def move_options(context: Context, principal: Principal, deal_id: UUID) -> tuple[Deal, Sequence[MoveOption]]:
    """Return for every stage whether the deal may move there now. Raises NotFound."""
    async with context.database.snapshot() as tx:
        deal = await find_deal(tx, deal_id, await visible_keys(tx, principal))
        if deal is None:
            raise NotFound("deal")
        key = (deal.process, deal.process_version)
        process = (await context.processes.load(tx, [key]))[key]
        tasks = (await tasks_of_present_visits(tx, [deal_id])).get(deal_id, ())
    return deal, [_option(process, deal, tasks, stage.code) for stage in process.stages]


def _option(process: Process, deal: Deal, tasks: Sequence[Task], stage: str) -> MoveOption:
    if stage == deal.stage.code:
        message = Names("商机已在此阶段", "The deal is in this stage")
        return MoveOption(stage, False, (Unmet(ALREADY_IN_STAGE, message, "/stage"),), False)
    unmet = (*unknown_move(process, deal, stage), *unmet_criteria(process, deal, tasks, stage))
    return MoveOption(stage, not unmet, unmet, process.places[stage].kind == "lost")
