"""`make bench`: print the table, write the JSON; ARGS=--readme puts the figures into the README."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from bench import report, scenarios
from bench.server import served
from shared.logging import configure_logging
from shared.runtime.run import tune_garbage_collection

ROUND_SECONDS = 2.0
ROUNDS = 2
IMPORTED_ROWS = 5_000
MESSAGES = 10_000


async def measure(data_dir: Path) -> list[report.Row]:
    """Run every scenario against one running server."""
    messages = scenarios.deal_messages(MESSAGES // 2)
    # As the services run; the raw loops in this process have it, too.
    tune_garbage_collection()
    async with served(data_dir) as server:
        rows = await scenarios.moves(server, data_dir, ROUND_SECONDS, ROUNDS)
        rows += await scenarios.imports(server, data_dir, IMPORTED_ROWS, ROUNDS)
        rows += await scenarios.relay(data_dir, messages)
        rows += await scenarios.fold(data_dir, messages)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true", help="put the figures into the README")
    arguments = parser.parse_args()
    configure_logging("ERROR", "console")
    data_dir = Path(tempfile.mkdtemp(prefix="salesgrain-"))
    began = time.perf_counter()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows = runner.run(measure(data_dir))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    report.save(rows)
    if arguments.readme:
        report.write_readme(rows)
    sys.stdout.write(f"{report.machine()}\n\n{report.table(rows)}\n\n{time.perf_counter() - began:.0f} s in all\n")


if __name__ == "__main__":
    main()
