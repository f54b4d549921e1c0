"""The scenarios: each returns rows of ours against its raw loop, on the same PostgreSQL, in the same minute."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from bench import limits
from bench.backlog import worked_off
from bench.databases import create_platform_tables, make_database, url_of
from bench.load import Load, closed_loop
from bench.report import Row
from bench.server import Served, deal_rows, import_rows, open_deals
from services.kpi.consumers import subscriptions
from services.kpi.store.numbers import Numbers
from services.kpi.use_cases.counting import Counting
from shared.bus.consumer import apply_messages
from shared.bus.postgres import PostgresBus
from shared.bus.relay import Relay
from shared.db.engine import Database, Signal
from shared.db.migrations import upgrade
from shared.db.outbox import announce_messages
from shared.events.codec import Message, encode
from shared.events.pipeline import DealCreated, DealEvent, DealMoved, DealState, Stage
from shared.ids import new_id

CLIENTS = (1, 8, 32)
DEALS = 2000
BATCH = 500


async def moves(server: Served, data_dir: Path, seconds: float, rounds: int) -> list[Row]:
    """A move over HTTP (authentication, gate, history, outbox) against the raw loops, order turned each round."""
    await import_rows(server.api, deal_rows(DEALS, "move", closed=False))
    requests = move_requests(server, await open_deals(server.api, "bench"))
    await worked_off(partial(url_of, data_dir))
    pool = await limits.open_pool(await make_database(data_dir, "bench_raw"))
    ids = await limits.prepare(pool, DEALS)
    rows: list[Row] = []
    for clients in CLIENTS:
        found: dict[str, list[Load]] = {"ours": [], "six": [], "one": []}
        for turn in range(rounds):
            for name in ("six", "ours", "one") if turn % 2 else ("one", "ours", "six"):
                if name == "ours":
                    found[name].append(await closed_loop(server.port, clients, seconds, requests(clients)))
                else:
                    await worked_off(partial(url_of, data_dir))
                    loop = limits.six_trips if name == "six" else limits.one_statement
                    found[name].append(await loop(pool, ids, clients, seconds))
        rows += _move_rows(clients, found)
    await pool.close()
    return rows


def _move_rows(clients: int, found: dict[str, list[Load]]) -> list[Row]:
    rate = {name: statistics.median(load.per_second for load in loads) for name, loads in found.items()}
    p50, p99 = (statistics.median(getattr(load, name) for load in found["ours"]) for name in ("p50", "p99"))
    refused = sum(load.refused for load in found["ours"])
    what = f"move over HTTP, {clients} clients" + (f" ({refused} refused)" if refused else "")
    aim = 1.5 if clients == CLIENTS[-1] else None
    return [
        Row(what, rate["ours"], "asyncpg, 6 trips", rate["six"], aim, p50, p99),
        Row(what, rate["ours"], "asyncpg, one statement", rate["one"]),
    ]


def move_requests(server: Served, ids: Sequence[str]) -> Callable[[int], Callable[[int, int], bytes]]:
    """Each deal goes to and fro between two stages; a deal belongs to one client at a time."""

    def for_clients(clients: int) -> Callable[[int, int], bytes]:
        own = [itertools.cycle(ids[number::clients]) for number in range(clients)]

        def request(client: int, _number: int) -> bytes:
            deal = next(own[client])
            return server.move(deal)

        return request

    return for_clients


async def imports(server: Served, data_dir: Path, rows: int, rounds: int) -> list[Row]:
    """Rows of a file with two dated stage entries each, until all are committed, against COPY and three INSERTs."""
    pool = await limits.open_pool(await make_database(data_dir, "bench_copy"))
    await limits.prepare(pool, 1)
    ours: list[float] = []
    raw: list[float] = []
    for turn in range(rounds):
        content = deal_rows(rows, f"import-{turn}", closed=True)
        began = time.perf_counter()
        await import_rows(server.api, content)
        ours.append(rows / (time.perf_counter() - began))
        await worked_off(partial(url_of, data_dir))
        async with pool.acquire() as connection:
            raw.append(await limits.copy_rows(connection, rows))
    await pool.close()
    median = statistics.median
    return [Row("import, rows of two events", median(ours), "COPY and 3 INSERT..SELECT", median(raw), 0.25)]


async def relay(data_dir: Path, messages: Sequence[Message]) -> list[Row]:
    """Outbox to log: ours reads, appends under the partitions' locks and deletes, as the raw loop does."""
    url = await make_database(data_dir, "bench_relay")
    database = Database(url, "bench")
    bus = PostgresBus(Database(await make_database(data_dir, "bench_bus"), "bench"))
    await bus.prepare()
    await create_platform_tables(url)
    pool = await limits.open_pool(await make_database(data_dir, "bench_raw"))
    await limits.prepare(pool, 1)
    async with pool.acquire() as connection:
        raw = await limits.relay_rows(connection, messages)
    for start in range(0, len(messages), BATCH):
        async with database.transaction() as tx:
            await announce_messages(tx, messages[start : start + BATCH])
    ours = Relay(database, bus, "bench")
    began = time.perf_counter()
    while await ours.step():
        pass
    rate = len(messages) / (time.perf_counter() - began)
    for thing in (ours, bus, database, pool):
        await thing.close()
    return [Row("relay, outbox to log", rate, "read, append, delete", raw, 0.5)]


async def fold(data_dir: Path, messages: Sequence[Message]) -> list[Row]:
    """Log to committed KPI cells: ours guards versions and keeps state and facts too; the raw loop only sums."""
    url = await make_database(data_dir, "bench_kpi")
    await upgrade(url, "kpi")
    database = Database(url, "bench")
    (subscription,) = subscriptions(Counting(Numbers(database), ZoneInfo("Asia/Shanghai")), Signal())
    pool = await limits.open_pool(await make_database(data_dir, "bench_raw"))
    await limits.prepare(pool, 1)
    async with pool.acquire() as connection:
        raw = await limits.fold_rows(connection, messages, event_cells)
    began = time.perf_counter()
    for start in range(0, len(messages), BATCH):
        await apply_messages(database, subscription, messages[start : start + BATCH])
    rate = len(messages) / (time.perf_counter() - began)
    await database.close()
    await pool.close()
    return [Row("KPI, event to committed cells", rate, "decode, sum, upsert", raw, 0.5)]


def event_cells(event: DealEvent) -> list[tuple[str, str, int]]:
    """Return five KPI in two scopes: about what an event touches in ours."""
    day = (event.happened_at - datetime(1970, 1, 1, tzinfo=UTC)).days
    return [(f"kpi-{number}", scope, day) for number in range(5) for scope in ("org", event.deal.owner or "")]


def deal_messages(deals: int) -> list[Message]:
    """Return two events for each of `deals`: created, then won."""
    begin = datetime(2026, 1, 5, 2, tzinfo=UTC)
    made: list[Message] = []
    for number in range(deals):
        deal_id = new_id()
        at = begin + timedelta(hours=number % 5000)
        before = _state(number, Stage("first", "open", 0))
        after = _state(number, Stage("won", "won", 2))
        common: dict[str, Any] = {"deal_id": deal_id, "recorded_at": at}
        made.append(encode(DealCreated(version=1, occurred_at=at, deal=before, **common)))
        later = at + timedelta(days=number % 40)
        made.append(
            encode(DealMoved(version=2, occurred_at=later, deal=after, before=before, move_id=new_id(), **common))
        )
    return made


def _state(number: int, stage: Stage) -> DealState:
    return DealState(
        process="bench",
        process_version=1,
        stage=stage,
        status=stage.kind,
        owner=f"external:rep-{number % 1000}",
        amount=number % 9000 * 100 + 1000,
        currency="CNY",
        product=f"product-{number % 7}",
        source="bench",
    )
