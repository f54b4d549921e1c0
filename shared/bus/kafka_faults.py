"""How Kafka fails, in our words."""

from shared.bus.protocol import TopicPartition


class KafkaUnavailable(ConnectionError):  # noqa: N818 - the name of the fact
    """Kafka did not do what was asked, in time: trying again later may help."""


class OffsetGone(Exception):  # noqa: N818
    """The log does not have this offset."""

    def __init__(self, at: TopicPartition, wanted: int) -> None:
        super().__init__(f"{at.topic}/{at.partition} has no offset {wanted}")
        self.at = at
        self.wanted = wanted
