"""What is shown to lag tools disturbs nobody, also where there is nobody to show it to."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from shared.bus.kafka_progress import KafkaProgress
from shared.bus.protocol import TopicPartition
from shared.events.pipeline import DEALS
from tests.faults.toy import GROUP, until

POSITIONS = {TopicPartition(DEALS, 0): 1}


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_a_cluster_that_does_not_answer_is_told_once_quietly(deaf: str) -> None:
    progress = KafkaProgress([deaf], "")
    with capture_logs() as logs:
        for _ in range(2):
            progress.tell(GROUP, POSITIONS)
            await until(lambda: progress.is_idle, 60)
    assert [(one["event"], one["log_level"]) for one in logs] == [("progress_not_committed", "debug")]
    await progress.close()


async def test_it_can_be_closed_at_any_time(deaf: str) -> None:
    progress = KafkaProgress([deaf], "")
    await progress.close()
    progress.tell(GROUP, POSITIONS)
    await asyncio.sleep(0.1)
    assert not progress.is_idle
    await progress.close()
    assert progress.is_idle


async def test_who_has_no_positions_says_nothing(deaf: str) -> None:
    progress = KafkaProgress([deaf], "")
    progress.tell(GROUP, {})
    assert progress.is_idle
