"""The order in which things start does not matter: a process answers at once, waits, and says for what."""

import subprocess
import sys

import pytest

from shared.db.migrations import upgrade
from shared.runtime.alone import settings_or_exit
from shared.settings import Settings
from tests.processes.site import Process, Site
from tests.system_caller import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def test_whatever_comes_late_is_named_and_waited_for(site: Site) -> None:
    kpi = site.process("kpi")
    kpi.start()
    await kpi.answering()
    assert (await kpi.readiness())[0] == 503
    assert set(await kpi.missing()) == {"database", "migrations", "auth", "bus", "consumers", "outbox"}
    refused = await kpi.ask("/kpi/v1/definitions")
    assert refused is not None
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "starting", "2")

    site.make_database("bus")
    await until(lambda: _names(kpi, {"database", "migrations", "auth", "consumers", "outbox"}))
    site.write_key_set()
    await until(lambda: _names(kpi, {"database", "migrations", "consumers", "outbox"}))
    site.make_database("kpi", "template1")
    await until(lambda: _names(kpi, {"migrations", "consumers", "outbox"}))
    assert (await kpi.missing())["migrations"] == "not migrated yet"
    # It serves by now, but nothing may be asked of a database without its schema.
    unserved = await kpi.ask("/kpi/v1/values?kpi=won_count", authorization=f"Bearer {site.issuer.token('admin')}")
    assert unserved is not None
    assert unserved.status_code == 503
    await upgrade(site.url("kpi"), "kpi")
    await kpi.ready()
    waited = {line["what"] for line in kpi.lines("waiting")}
    assert waited == {"database", "migrations", "auth", "bus"}


async def test_a_consumer_without_its_beginning_waits_for_the_owner(site: Site) -> None:
    site.make_all()
    pipeline = site.process("pipeline")
    pipeline.start()
    await pipeline.ready()
    # The log begins at 5: whoever is new must read the owner's export first.
    site.rows("bus", "UPDATE bus_partition SET low_off = 5, next_off = 5 WHERE topic = 'pipeline.deals.v1'")
    peer = site.process("pipeline", 2)
    kpi = site.process("kpi", PIPELINE_URL=peer.url)
    kpi.start()
    await kpi.answering()
    await until(lambda: _says(kpi, "consumers", "kpi waits for the owner's export of pipeline.deals.v1"), 60)
    assert (await kpi.readiness())[0] == 503
    peer.start()
    await kpi.ready()


@pytest.mark.parametrize("keys", [{}, {"AUTH_JWKS_FILE": "development.json", "ENVIRONMENT": "production"}])
def test_missing_settings_are_a_line_each(keys: dict[str, str]) -> None:
    environment = {"BUS_URL": "nats://somewhere", "PATH": "/usr/bin", **keys}
    done = subprocess.run(
        [sys.executable, "-m", "services.goals"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    told = [line.split(":")[1].strip().split(" ")[0] for line in done.stderr.splitlines()]
    assert told == ["DATABASE_URL", "SERVICE_TOKEN", "AUTH_ISSUER", "BUS_URL"], done.stderr


def test_bad_settings_are_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "many")
    monkeypatch.setenv("TIME_ZONE", "Moon/Sea")
    with pytest.raises(SystemExit) as ended:
        settings_or_exit("goals", Settings)
    assert [line.split(":")[:2] for line in str(ended.value).splitlines()] == [
        ["goals", " TIME_ZONE"],
        ["goals", " PORT"],
    ]


async def _names(process: Process, wanted: set[str]) -> bool:
    return set(await process.missing()) == wanted


async def _says(process: Process, check: str, reason: str) -> bool:
    return (await process.missing()).get(check) == reason
