"""Any order of moves, relay steps, duplicates, rebalances, freezes, deaths and database errors, against a model.

Hypothesis draws the courses; the same ones in every run. FAULT_EXAMPLES=500 draws that many new ones instead.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.faults.course import MEMBERS, POISON, Course
from tests.faults.logs import LOGS, FreshBus
from tests.faults.toy import World, toy_world

EXAMPLES = 22
STEPS = 25
ASKED_FOR = os.environ.get("FAULT_EXAMPLES")

deals = st.integers(0, 3)
amounts = st.integers(0, 99).map(lambda amount: amount + 1 if amount == POISON else amount)
members = st.sampled_from(MEMBERS)
relay_places = st.sampled_from(["relay.read", "bus.append", "bus.appended", "relay.sent", "relay.deleted"])
consumer_places = st.sampled_from(
    ["consumer.fetched", "consumer.applied", "consumer.commit", "consumer.committed", "consumer.taken_over"]
)


class Faults(RuleBasedStateMachine):
    """Every rule is one thing that may happen next; whoever is frozen or dead does nothing."""

    runner: asyncio.Runner
    world: World
    fresh_bus: FreshBus

    def __init__(self) -> None:
        super().__init__()
        self.course = self._do(self._begin())

    def _do(self, work: Awaitable[object]) -> object:
        return self.runner.run(work)

    async def _begin(self) -> Course:
        return await Course.begin(self.world, await self.fresh_bus())

    @rule(deal=deals, amount=amounts)
    def change(self, deal: int, amount: int) -> None:
        self._do(self.course.change(deal, amount))

    @rule(changes=st.lists(st.tuples(deals, amounts), min_size=2, max_size=8), give_up=st.booleans())
    def change_many_in_one_transaction(self, changes: list[tuple[int, int]], give_up: bool) -> None:
        self._do(self.course.change_many(changes, give_up=give_up))

    @rule(deal=deals, amount=amounts, place=st.sampled_from(["commit", "committed"]), again=st.booleans())
    def the_answer_to_a_change_is_lost(self, deal: int, amount: int, place: str, again: bool) -> None:
        self._do(self.course.change_unsure(deal, amount, place, again=again))

    @rule(deal=deals)
    def change_to_what_cannot_be_digested(self, deal: int) -> None:
        self._do(self.course.change(deal, POISON))

    @precondition(lambda self: len(self.course.late) < 2)
    @rule(amount=amounts)
    def begin_a_transaction(self, amount: int) -> None:
        self._do(self.course.begin_late(amount))

    @precondition(lambda self: self.course.late)
    @rule(commit=st.booleans())
    def end_a_transaction(self, commit: bool) -> None:
        self._do(self.course.end_late(commit=commit))

    @rule()
    def relay(self) -> None:
        self._do(self.course.relay())

    @rule(place=relay_places, dies=st.booleans())
    def relay_disturbed(self, place: str, dies: bool) -> None:
        self._do(self.course.relay_disturbed(place, dies=dies))

    @precondition(lambda self: len(self.course.frozen_relays) < 2)
    @rule(before=st.sampled_from(["send", "delete"]))
    def freeze_a_relay(self, before: str) -> None:
        self._do(self.course.freeze_relay(before))

    @precondition(lambda self: self.course.frozen_relays)
    @rule()
    def thaw_a_relay(self) -> None:
        self._do(self.course.thaw_relay())

    @precondition(lambda self: self.course.log)
    @rule(which=st.lists(st.integers(0, 200), min_size=1, max_size=8))
    def records_come_again(self, which: list[int]) -> None:
        self._do(self.course.send_again(which))

    @rule(member=members)
    def consume(self, member: int) -> None:
        self._do(self.course.consume(member))

    @rule(member=members, place=consumer_places, dies=st.booleans())
    def consume_disturbed(self, member: int, place: str, dies: bool) -> None:
        self._do(self.course.consume_disturbed(member, place, dies=dies))

    @rule(member=members)
    def freeze_a_member(self, member: int) -> None:
        self._do(self.course.freeze_member(member))

    @precondition(lambda self: self.course.frozen_members)
    @rule(member=members)
    def thaw_a_member(self, member: int) -> None:
        self._do(self.course.thaw_member(member))

    @rule(member=members)
    def a_member_leaves_and_another_joins(self, member: int) -> None:
        self._do(self.course.replace(member))

    @rule()
    def all_sessions_are_lost(self) -> None:
        self._do(self.course.lose_sessions())

    @rule()
    def come_to_rest(self) -> None:
        self._do(self.course.rest())

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert self._do(self.course.broken_now()) == set()

    def teardown(self) -> None:
        try:
            self._do(self.course.rest())
        finally:
            self._do(self.course.close())


@pytest.fixture(params=LOGS)
def machine(
    request: pytest.FixtureRequest, empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[Faults]]:
    """The state machine over one log; its members look at their locks at every step, so that no clock decides."""
    monkeypatch.setattr("shared.bus.ownership.CHECK_SECONDS", 0.0)
    log = LOGS[request.param](empty_database)
    with asyncio.Runner() as runner:
        making = toy_world(empty_database)
        world = runner.run(making.__aenter__())
        try:
            yield type("Faults", (Faults,), {"runner": runner, "world": world, "fresh_bus": staticmethod(log.fresh)})
        finally:
            runner.run(making.__aexit__(None, None, None))


@pytest.mark.timeout(600)
def test_no_course_of_events_loses_or_doubles_anything(machine: type[Faults]) -> None:
    bounded = settings(
        max_examples=int(ASKED_FOR or EXAMPLES),
        stateful_step_count=STEPS,
        derandomize=ASKED_FOR is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=bounded)
