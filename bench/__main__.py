"""`make bench`: print the tables, write the JSON; ARGS=--readme puts the figures into the README.

`make bench-full` (--full) has longer rounds and adds the distributed mode; ARGS="--only moves,kafka" runs some alone.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench import beside_import, distributed, end_to_end, kafka_log, report, scenarios, webhooks
from bench.backlog import worked_off
from bench.databases import url_of
from bench.report import Findings, Row
from bench.server import Served, served
from deploy.kafka.jars import LocalKafkaError
from shared.logging import configure_logging
from shared.runtime.run import tune_garbage_collection

RATES = (100, 500)
# Milliseconds at 500 moves a second: KPI p50 and p99, alert p50.
AIMS = (50.0, 250.0, 150.0)
EMBEDDED = ("moves", "imports", "beside-import", "relay", "fold", "kafka", "end-to-end", "webhooks", "share")


@dataclass(frozen=True, slots=True)
class Depth:
    """How long and how often; `replicas` of the distributed mode, none in the quick run."""

    round_seconds: float
    rounds: int
    imported_rows: int
    messages: int
    paced_seconds: float
    webhook_seconds: float
    replicas: tuple[int, ...]


QUICK = Depth(2.0, 2, 5_000, 10_000, 6.0, 1.0, ())
FULL = Depth(6.0, 3, 20_000, 30_000, 15.0, 3.0, (1, 2, 4))


async def measure_embedded(data_dir: Path, depth: Depth, wanted: frozenset[str], found: Findings) -> None:
    """Run the scenarios that have a server in the embedded mode, or its PostgreSQL, in common."""
    messages = scenarios.deal_messages(depth.messages // 2)
    rounds = depth.rounds
    async with served(data_dir) as server:
        scenarios_of_rows: Mapping[str, Callable[[], Awaitable[list[Row]]]] = {
            "moves": lambda: scenarios.moves(server, data_dir, depth.round_seconds, rounds),
            "imports": lambda: scenarios.imports(server, data_dir, depth.imported_rows, rounds),
            "beside-import": lambda: beside_import.measure(server, data_dir, depth.round_seconds, depth.imported_rows),
            "relay": lambda: scenarios.relay(data_dir, messages),
            "fold": lambda: scenarios.fold(data_dir, messages),
            "kafka": lambda: kafka_log.measure(data_dir, messages, rounds),
            "webhooks": lambda: webhooks.accepted(server, data_dir, depth.webhook_seconds, rounds),
        }
        for name, scenario in scenarios_of_rows.items():
            if name in wanted:
                with _left_out(found, name):
                    found.rows += await scenario()
        if "end-to-end" in wanted:
            with _left_out(found, "end-to-end"):
                await _end_to_end(server, data_dir, depth, found)
        if "share" in wanted and depth.replicas:
            found.shares.append(await distributed.embedded_share(server, data_dir, depth.paced_seconds))


async def _end_to_end(server: Served, data_dir: Path, depth: Depth, found: Findings) -> None:
    async with end_to_end.prepared(server, data_dir) as stage:
        for rate in RATES:
            await worked_off(partial(url_of, data_dir))
            aims = AIMS if rate == RATES[-1] else ()
            found.timings.append(await end_to_end.paced(stage, "embedded", rate, depth.paced_seconds, aims))
        await worked_off(partial(url_of, data_dir))


async def measure_distributed(depth: Depth, found: Findings) -> None:
    """Run the distributed mode with each number of replicas; end to end with two."""
    for count in depth.replicas:
        with _left_out(found, f"the distributed mode, {count} replicas"), _folder() as data_dir:
            rates = RATES if count == 2 else ()
            share, timings = await distributed.replicas(data_dir, count, depth.paced_seconds, rates)
            found.shares.append(share)
            found.timings += timings
            # A long run that is ended early has not been in vain.
            report.save(found)


@contextmanager
def _left_out(found: Findings, what: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
        sys.stderr.write(f"{what}: {time.perf_counter() - began:.0f} s\n")
    except LocalKafkaError as error:
        found.left_out.append(f"{what}: {error}")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="salesgrain-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def measure(depth: Depth, wanted: frozenset[str]) -> Findings:
    """Run what is wanted, one after the other."""
    # As the services run; the raw loops in this process have it, too.
    tune_garbage_collection()
    found = Findings()
    if wanted & set(EMBEDDED):
        with _folder() as data_dir:
            await measure_embedded(data_dir, depth, wanted, found)
    if "distributed" in wanted:
        await measure_distributed(depth, found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readme", action="store_true", help="put the figures into the README")
    parser.add_argument("--full", action="store_true", help="longer rounds, and the distributed mode")
    parser.add_argument("--only", default=",".join((*EMBEDDED, "distributed")), help="scenarios, separated by commas")
    arguments = parser.parse_args()
    wanted = frozenset(arguments.only.split(","))
    if unknown := wanted - {*EMBEDDED, "distributed"}:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    configure_logging("ERROR", "console")
    began = time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure(FULL if arguments.full else QUICK, wanted))
    report.save(found)
    if arguments.readme:
        report.write_readme(found)
    sys.stdout.write(f"{report.machine()}\n\n{report.text_of(found)}\n\n{time.perf_counter() - began:.0f} s in all\n")


if __name__ == "__main__":
    main()
