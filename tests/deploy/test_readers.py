"""The catalogue says who reads what; the services are asked."""

from collections import defaultdict
from collections.abc import Callable

from deploy.embedded.assembly import assembled
from shared.auth.development_issuer import DevelopmentIssuer
from shared.events.catalogue import TOPICS


async def test_the_readers_of_each_topic_are_the_groups_that_subscribe_to_it(
    empty_database: Callable[[], str],
) -> None:
    log, elsewhere = empty_database(), empty_database()
    groups: defaultdict[str, set[str]] = defaultdict(set)
    overrides = {"cursor_secret": "x" * 32}
    async with assembled(
        lambda name: log if name == "bus" else elsewhere, DevelopmentIssuer.create(), overrides
    ) as assembly:
        for service in assembly.services.values():
            for subscription in service.subscriptions:
                for topic in subscription.topics:
                    groups[topic].add(subscription.group)
    assert {topic.name: set(topic.readers) for topic in TOPICS.values()} == {name: groups[name] for name in TOPICS}
