"""`GET /kpi/v1/stream`: what a listener asked for is watched, and told when it changes."""

import json

from services.kpi.use_cases.watching import STREAM_LEASE, forget_unwatched
from tests.services.kpi.deal_streams import Deal, at
from tests.services.kpi.harness import Kpi
from tests.services.kpi.organisation import PEOPLE, TEAMS
from tests.shared.web.streaming import listening, serving


def won(owner: str) -> Deal:
    return Deal().created("lead", at("2026-11-10 01:00"), owner=owner).moved("won", at("2026-11-11 01:00"))


async def test_an_open_stream_hears_of_what_it_asked_for(kpi: Kpi) -> None:
    await kpi.apply(*TEAMS, *PEOPLE)
    admin = {"authorization": f"Bearer {kpi.issuer.token('admin')}"}
    async with serving(kpi.service.app) as base:
        query = "kpi=won_count&scope=person:ann&scope=team:red&grain=month"
        async with listening(f"{base}/kpi/v1/stream?{query}", admin) as stream:
            await kpi.announce()
            firsts = [await stream.event(), await stream.event()]
            assert {json.loads(one.data or "")["value"] for one in firsts} == {"0"}
            await kpi.apply(*won("external:ben").messages)
            await kpi.announce()
            told = await stream.event()
            data = json.loads(told.data or "")
            assert told.event == "value"
            assert (data["kpi"], data["value"], data["period"]["start"]) == ("won_count", "1", "2026-11-01")
            assert data["scope"].startswith("team:")
        async with listening(f"{base}/kpi/v1/stream?last_event_id={told.id}", admin) as stream:
            await kpi.apply(*won("external:ann").messages)
            await kpi.announce()
            assert {json.loads((await stream.event()).data or "")["value"] for _ in range(2)} == {"1", "2"}


async def test_a_rep_hears_only_of_themselves(kpi: Kpi) -> None:
    await kpi.apply(*TEAMS, *PEOPLE)
    ann = {"authorization": f"Bearer {kpi.issuer.token('rep', 'ann')}"}
    async with serving(kpi.service.app) as base, listening(f"{base}/kpi/v1/stream?kpi=won_count", ann) as stream:
        await kpi.announce()
        await stream.event()
        await kpi.apply(*won("external:ben").messages)
        await kpi.announce()
        assert await stream.silent(0.5)


async def test_what_nobody_listens_to_any_more_is_forgotten(kpi: Kpi) -> None:
    admin = {"authorization": f"Bearer {kpi.issuer.token('admin')}"}
    url = "/kpi/v1/stream?kpi=won_count&kpi=win_rate"
    async with serving(kpi.service.app) as base, listening(base + url, admin):
        pass
    await forget_unwatched(kpi.database, kpi.clock)
    assert len(await kpi.rows("SELECT key FROM watch")) == 2
    kpi.clock.now += STREAM_LEASE
    await forget_unwatched(kpi.database, kpi.clock)
    assert await kpi.rows("SELECT key FROM watch UNION ALL SELECT subscriber FROM watch_subscriber") == []


async def test_a_listener_cannot_ask_for_others(kpi: Kpi) -> None:
    await kpi.apply(*TEAMS, *PEOPLE)
    await kpi.get("/stream", 404, "rep", "ann", kpi="won_count", scope="org")
    problem = await kpi.get("/stream", 422, kpi="happiness")
    assert problem["errors"][0]["code"] == "unknown_kpi"
