"""Who runs which tests in a run of several workers (xdist): modules stay whole, and one fleet of processes runs at a time.

A fleet is a dozen of processes that starve each other where two of them share a small machine: their modules go to one
worker, one after the other, and first of all, so that nothing else has to wait for them at the end.
"""

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

FLEETS = (
    "tests/contracts/test_kafka_faults.py",
    "tests/faults/test_process_chaos.py",
    "tests/flows/test_demo.py",
    "tests/processes/",
)


class OneFleetAtATime(LoadScopeScheduling):
    """Hands out modules whole; those of FLEETS are one."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.split("::", 1)[0]
        return "fleets" if module.startswith(FLEETS) else module


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return `items` with fleets in front, then what starts processes, then the rest; else in their order."""
    return sorted(items, key=lambda item: (not item.nodeid.startswith(FLEETS), item.get_closest_marker("slow") is None))
