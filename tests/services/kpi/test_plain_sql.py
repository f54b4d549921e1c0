"""Every cell equals what plain SQL finds in the history, for any deals, in any order of delivery."""

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.kpi.domain import facts
from services.kpi.domain.days import UNDATED, day_of
from services.kpi.store.cells import all_cells
from services.kpi.store.generations import activate, active_generation, begin_generation
from shared.events.codec import Message
from tests.services.kpi.deal_streams import Deal
from tests.services.kpi.harness import Kpi
from tests.services.kpi.plain_sql import HISTORY, RECOMPUTED
from tests.services.kpi.random_deals import deals

MEASURES = {
    facts.CREATED: "deals_created",
    facts.ENTRIES: "stage_entries",
    facts.REACHED: "stage_conversion",
    facts.DWELL: "stage_dwell",
    facts.CLOSED: "win_rate",
    facts.WON_VALUE: "won_amount",
    facts.CYCLE: "sales_cycle_days",
    facts.OPEN_VALUE: "open_pipeline_amount",
}
Rows = dict[tuple[Any, ...], tuple[Any, ...]]
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def begin_anew(kpi: Kpi) -> None:
    """Count into an empty generation, as if nothing had ever happened."""
    async with kpi.database.transaction() as tx:
        await activate(tx, await begin_generation(tx))


async def counted(kpi: Kpi) -> tuple[Rows, Rows]:
    """Return what the cells hold, of the organisation and by owner."""
    async with kpi.database.snapshot() as tx:
        cells = await all_cells(tx, await active_generation(tx))
    whole: Rows = {}
    owners: Rows = {}
    for (measure, owner, number, dims), sums in cells.items():
        if measure == facts.IMPLIED:
            continue
        day = None if number == UNDATED else day_of(number)
        name = MEASURES[measure]
        den = None if name == "open_pipeline_amount" else sums.den
        if sums.num or den or sums.n:
            rows = whole if owner is None else owners
            rows[name, owner, day, *msgspec.structs.astuple(dims)] = (sums.num, den, sums.n)
    return whole, owners


async def recomputed(kpi: Kpi, streams: Sequence[Deal]) -> tuple[Rows, Rows]:
    """Return what plain SQL makes of the same events."""
    async with kpi.database.transaction() as tx:
        await tx.exec_driver_sql("DROP TABLE IF EXISTS history")
        await tx.exec_driver_sql(HISTORY)
        for message in (message for deal in streams for message in deal.messages):
            value = msgspec.json.decode(message.value)
            parts = [value.get(name) for name in ("deal", "course", "passed")]
            told = [None if part is None else msgspec.json.encode(part).decode() for part in parts]
            row = (message.key, value["version"], message.headers["ce_type"], when(value["occurred_at"]), *told)
            await tx.exec_driver_sql(
                "INSERT INTO history VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb, $7::jsonb)", row
            )
        whole = (await tx.exec_driver_sql(RECOMPUTED.format(owner="NULL::text"))).all()
        owners = (await tx.exec_driver_sql(RECOMPUTED.format(owner="coalesce(f.owner, '')"))).all()
    return rows_of(whole), rows_of(owners)


def rows_of(found: Sequence[Any]) -> Rows:
    return {tuple(row)[:8]: tuple(row)[8:] for row in found}


def when(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@MANY
@given(streams=deals(correct_and_reassign=False))
async def test_cells_equal_plain_sql_over_the_history(kpi: Kpi, streams: list[Deal]) -> None:
    await begin_anew(kpi)
    await kpi.apply(*(message for deal in streams for message in deal.messages))
    whole, owners = await counted(kpi)
    expected_whole, expected_owners = await recomputed(kpi, streams)
    assert whole == expected_whole
    assert owners == expected_owners


@MANY
@given(streams=deals(), seed=st.integers(0, 2**32))
async def test_shuffled_duplicated_and_split_deliveries_count_like_one_batch(
    kpi: Kpi, streams: list[Deal], seed: int
) -> None:
    messages: list[Message] = [message for deal in streams for message in deal.messages]
    await begin_anew(kpi)
    await kpi.apply(*messages)
    in_order = await counted(kpi)
    facts_in_order = await told_facts(kpi)

    await begin_anew(kpi)
    chance = random.Random(seed)
    delivered = messages + chance.choices(messages, k=len(messages))
    chance.shuffle(delivered)
    while delivered:
        batch = chance.randint(1, 7)
        await kpi.apply(*delivered[:batch])
        del delivered[:batch]
    assert await counted(kpi) == in_order
    assert await told_facts(kpi) == facts_in_order
    assert await kpi.rows("SELECT stream FROM parked_message UNION ALL SELECT stream FROM dead_letter") == []


async def told_facts(kpi: Kpi) -> list[Any]:
    """Return the whole history of facts: it does not depend on the batches either."""
    return await kpi.rows(
        "SELECT stream, measure, place, f.version, day, owner, slice, num, den, n, duration, known_from, known_to"
        " FROM fact AS f JOIN entity_state AS e ON e.id = f.entity"
        " WHERE f.generation = (SELECT id FROM generation WHERE state = 'active') ORDER BY 1, 2, 3, 4"
    )
