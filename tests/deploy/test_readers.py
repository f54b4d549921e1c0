"""The catalogue says who reads what; the services are asked."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable

import pytest

from deploy.embedded.assembly import assembled
from shared.auth.development_issuer import DevelopmentIssuer
from shared.bus.subscription import Subscription
from shared.events.catalogue import GROUPS, TOPICS


@pytest.fixture
async def subscriptions(empty_database: Callable[[], str]) -> AsyncIterator[list[tuple[str, Subscription]]]:
    """Every subscription with the service that has it."""
    log, elsewhere = empty_database(), empty_database()
    overrides = {"cursor_secret": "x" * 32}
    async with assembled(lambda _: elsewhere, log, DevelopmentIssuer.create(), overrides) as assembly:
        yield [(service.name, one) for service in assembly.services.values() for one in service.subscriptions]


async def test_the_readers_of_each_topic_are_the_groups_that_subscribe_to_it(
    subscriptions: list[tuple[str, Subscription]],
) -> None:
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for _, subscription in subscriptions:
        for topic in subscription.topics:
            groups[topic].add(subscription.group)
    assert {topic.name: set(topic.readers) for topic in TOPICS.values()} == {name: groups[name] for name in TOPICS}


async def test_every_group_has_a_topic_for_its_dead_letters(subscriptions: list[tuple[str, Subscription]]) -> None:
    assert {subscription.group: service for service, subscription in subscriptions} == GROUPS
    dead = {topic.dead_letters_of: topic for topic in TOPICS.values() if topic.dead_letters_of is not None}
    assert {group: topic.owner for group, topic in dead.items()} == GROUPS
    assert {topic.name: group for group, topic in dead.items()} == {f"{group}.dead.v1": group for group in GROUPS}
    assert {(topic.partitions, topic.retention.days, topic.readers) for topic in dead.values()} == {(1, 30, ())}
