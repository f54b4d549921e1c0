"""Deliberate defects as data: each is one edit of one file, and names the tests of which at least one must turn red."""

from dataclasses import dataclass
from textwrap import indent


@dataclass(frozen=True, slots=True)
class Defect:
    """`find` stands exactly once in `file`, so that the defect fails loudly when the code has moved."""

    name: str
    file: str
    find: str
    replace: str
    tests: tuple[str, ...]


FAULTS = "tests/faults"
CRASHES = f"{FAULTS}/test_crash_points.py"
STATEFUL = f"{FAULTS}/test_stateful.py"
OUTAGES = f"{FAULTS}/test_outages.py"

_BURIAL = """\
            await keep_dead_letters(tx, [letter])
            if poison.stream is not None and poison.envelope is not None:
                await unpark(tx, intake.group, {poison.stream: poison.envelope.version})
            outcome.results[poison.type, "dead"] += 1
        await fence.leave(tx)
        faultpoint("consumer.commit")
    faultpoint("consumer.committed")
"""
_LETTER_LATER = """\
    async with database.transaction() as tx:
        await keep_dead_letters(tx, [letter])
"""
_REPLIES = """\
await store_replies(
    tx, [(command.key, *command.reply(outcome)) for command, outcome in done if command.key and command.reply]
)
"""
_WRITTEN = """\
        faultpoint("moves.written")
    faultpoint("moves.committed")
"""

DEFECTS = (
    Defect(
        "the epoch is not looked at",
        "shared/bus/offsets.py",
        "if mine is not None and (at not in held or held[at][0] != mine):",
        "if mine is not None and at not in held:",
        (f"{FAULTS}/test_owners.py",),
    ),
    Defect(
        "the version guard lets everything through",
        "shared/bus/intake.py",
        "        if version <= current:\n",
        "        if version <= 0:\n",
        (CRASHES,),
    ),
    Defect(
        "the relay deletes before the bus has acknowledged",
        "shared/bus/relay.py",
        '        await self._send(rows)\n        faultpoint("relay.sent")\n        await self._delete(rows)\n',
        '        await self._delete(rows)\n        await self._send(rows)\n        faultpoint("relay.sent")\n',
        (CRASHES,),
    ),
    Defect(
        "the relay has a cursor that never looks back",
        "shared/bus/relay.py",
        "        rows = await _READ.fetch_alone(self._database, LARGEST_BATCH, self._topics)\n",
        "        rows = await _READ.fetch_alone(self._database, LARGEST_BATCH, self._topics)\n"
        '        rows = [row for row in rows if row["id"] > getattr(self, "seen", 0)]\n'
        '        self.seen = rows[-1]["id"] if rows else getattr(self, "seen", 0)\n',
        (f"{FAULTS}/test_messages.py::test_a_commit_that_becomes_visible_late_is_not_lost",),
    ),
    Defect(
        "every replica relays",
        "shared/bus/relay.py",
        "        if not await self._ownership.refresh():\n",
        "        if not await self._ownership.refresh() and False:\n",
        ("tests/shared/bus/test_relay.py::test_one_relays_while_the_others_stand_by",),
    ),
    Defect(
        "the offset is stored in a transaction of its own",
        "shared/bus/isolation.py",
        "        outcome = await intake.apply(tx, await fence.enter(tx, arrivals), drain=drain)\n"
        "        await fence.leave(tx)\n",
        "        arrivals = await fence.enter(tx, arrivals)\n"
        "        await fence.leave(tx)\n"
        "    async with database.transaction() as tx:\n"
        "        outcome = await intake.apply(tx, arrivals, drain=drain)\n",
        (CRASHES,),
    ),
    Defect(
        "a batch beyond a hole is applied",
        "shared/bus/offsets.py",
        "            if at not in begun and offset > self.next_offsets[at]:\n",
        "            if at not in begun and offset < 0:\n",
        ("tests/shared/bus/test_consumer.py::test_a_batch_that_was_lost_on_the_way_leaves_no_hole",),
    ),
    Defect(
        "what is parked is not drained",
        "shared/bus/intake.py",
        "waiting.get(self.versions[stream] + 1) if self._drain else None",
        "None",
        (f"{FAULTS}/test_messages.py::test_every_message_thrice_in_any_order",),
    ),
    Defect(
        "a dead letter is kept in another transaction",
        "shared/bus/isolation.py",
        _BURIAL,
        _BURIAL.replace("            await keep_dead_letters(tx, [letter])\n", "") + _LETTER_LATER,
        (f"{CRASHES}::test_death_around_a_dead_letter_loses_neither_it_nor_its_place",),
    ),
    Defect(
        "a fault of the surroundings is taken for one of the event",
        "shared/bus/isolation.py",
        "    return not isinstance(error, Fenced) and not is_infrastructure(error)\n",
        "    return not isinstance(error, Fenced)\n",
        (f"{OUTAGES}::test_no_fault_of_the_surroundings_makes_a_dead_letter",),
    ),
    Defect(
        "the end of the log is noted after the export is read",
        "shared/bus/resync.py",
        "        await restart(tx, intake.group, bus.id, ends)\n",
        "        ends = dict(await bus.end_offsets(epochs.keys()))\n"
        "        await restart(tx, intake.group, bus.id, ends)\n",
        (f"{OUTAGES}::test_what_happens_while_the_export_is_read_is_not_passed_over",),
    ),
    Defect(
        "a frozen owner keeps its locks",
        "shared/db/session_locks.py",
        "connect_dedicated(idle_session_timeout=IDLE_TIMEOUT, ",
        "connect_dedicated(",
        ("tests/shared/bus/test_ownership.py::test_a_frozen_owner_loses_what_it_owns",),
    ),
    Defect(
        "events are announced in the order in which they were made",
        "shared/db/outbox.py",
        "    ordered = sorted(events, key=lambda event: (event.key, event.version))\n",
        "    ordered = list(events)\n",
        ("tests/shared/db/test_outbox.py::test_whatever_order_they_are_announced_in_ids_follow_the_versions",),
    ),
    Defect(
        "one key is twice in flight",
        "shared/db/batcher.py",
        "        held = set(self._busy)\n",
        "        held: set[Hashable] = set()\n",
        ("tests/shared/db/test_batcher.py",),
    ),
    Defect(
        "a batch that may have been committed is repeated",
        "shared/db/batcher.py",
        "if len(batch) > 1 and not is_outcome_unknown(error):",
        "if len(batch) > 1:",
        ("tests/shared/db/test_batcher.py::test_nobody_repeats_a_batch_that_may_have_been_committed",),
    ),
    Defect(
        "an idempotency key is stored in another transaction",
        "services/pipeline/use_cases/moves.py",
        indent(_REPLIES, " " * 8) + _WRITTEN,
        f"{_WRITTEN}    async with context.database.transaction() as tx:\n{indent(_REPLIES, ' ' * 8)}",
        ("tests/services/pipeline/test_moves_http.py::test_what_breaks_after_the_commit_is_answered_to_the_retry",),
    ),
    Defect(
        "the announcer drops marks that it has not read",
        "services/kpi/store/marks.py",
        "DELETE FROM touched WHERE id = ANY(CAST($1 AS bigint[]))",
        "DELETE FROM touched WHERE CAST($1 AS bigint[]) IS NOT NULL",
        ("tests/services/kpi/test_announcer.py::test_no_write_skew_between_folds_on_different_days_of_a_month",),
    ),
    Defect(
        "a new generation is read before it has all that live has",
        "services/kpi/use_cases/rebuild.py",
        "            await self._catch_up(await self._hold_live_group(tx))\n",
        "            await self._hold_live_group(tx)\n",
        ("tests/services/kpi/test_rebuild.py::test_what_live_counted_just_before_the_switch_is_not_lost",),
    ),
    Defect(
        "an old value replaces a newer one",
        "services/goals/store/progress.py",
        "    WHERE known.version < excluded.version\n",
        "",
        ("tests/services/goals/test_progress_events.py",),
    ),
    Defect(
        "a sender takes no lease",
        "services/notify/store/deliveries.py",
        '        .values(lease_until=bindparam("until", type_=Moment), ',
        "        .values(lease_until=now, ",
        ("tests/services/notify/test_deliveries.py::test_many_senders_send_everything_once",),
    ),
    Defect(
        "a connection whose BEGIN was cancelled is used again",
        "shared/db/statements.py",
        "        await tx.invalidate()\n        raise\n",
        "        raise\n",
        ("tests/shared/db/test_statements.py",),
    ),
)
