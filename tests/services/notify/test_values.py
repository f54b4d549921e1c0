"""KPI rules driven by hand-made values: duplicates, order, wobbles, periods, `for`, changes of the rule."""

from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from shared.events.kpi import ValueAnnounced
from shared.events.notify import AlertChanged
from tests.services.notify.building import message, value
from tests.services.notify.conftest import Notify

KPI: dict[str, Any] = {"kpi": "win_rate", "scope": "org", "grain": "month", "op": "lt", "threshold": "0.20"}


def at(notify: Notify, number: str | None, version: int, **said: Any) -> ValueAnnounced:
    """A value announced now."""
    return value(number, version, recorded_at=notify.clock(), **said)


async def test_a_value_over_the_line_fires_once_and_resolves_once(notify: Notify) -> None:
    rule = await notify.make_rule(when=KPI, severity="critical")
    await notify.hear(message(at(notify, "0.50", 1)))
    assert await notify.alerts() == []
    await notify.hear(message(at(notify, "0.19", 2), "move-7"))
    (alert,) = await notify.alerts(state="firing")
    assert (alert["rule"]["id"], alert["severity"], alert["correlation_id"]) == (rule["id"], "critical", "move-7")
    assert alert["subject"]["stream"] == "value:win_rate|org|month|..||::2026-11-01"
    assert {name: alert["subject"][name] for name in ("kind", "kpi", "scope", "value", "threshold", "unit")} == {
        "kind": "kpi", "kpi": "win_rate", "scope": "org", "value": "0.19", "threshold": "0.20", "unit": "ratio",
    }  # fmt: skip
    await notify.hear(at(notify, "0.201", 3))
    assert len(await notify.alerts(state="firing")) == 1
    await notify.hear(at(notify, "0.30", 4))
    (resolved,) = await notify.alerts(state="resolved")
    assert (resolved["id"], resolved["resolution"], resolved["resolved_value"]) == (alert["id"], "recovered", "0.30")
    await notify.hear(at(notify, "0.10", 5))
    assert len(await notify.alerts()) == 2
    changes: list[AlertChanged] = await notify.announced("notify.alert.changed.v1")
    assert [(str(event.alert_id) == alert["id"], event.state) for event in changes] == [
        (True, "firing"), (True, "resolved"), (False, "firing"),
    ]  # fmt: skip


async def test_the_first_value_counts_and_so_does_the_one_that_was_there(notify: Notify) -> None:
    await notify.make_rule(when=KPI)
    await notify.hear(at(notify, "0.10", 1))
    assert len(await notify.alerts(state="firing")) == 1
    # A second rule on the same watch hears of no new value: it is held against the stored one.
    late = await notify.make_rule(when={**KPI, "threshold": "0.15"})
    assert len(await notify.alerts(rule_id=late["id"])) == 1
    harmless = await notify.make_rule(when={**KPI, "threshold": "0.05"})
    assert await notify.alerts(rule_id=harmless["id"]) == []


async def test_a_duplicate_and_an_older_value_change_nothing(notify: Notify) -> None:
    await notify.make_rule(when=KPI)
    low, high = at(notify, "0.10", 7), at(notify, "0.90", 9)
    await notify.hear(low)
    await notify.hear(low, low)
    await notify.hear(high)
    await notify.hear(low, high, at(notify, "0.05", 8))
    assert [alert["state"] for alert in await notify.alerts()] == ["resolved"]
    assert len(await notify.announced("notify.alert.changed.v1")) == 2


async def test_of_one_batch_the_newest_counts_in_any_order(notify: Notify) -> None:
    await notify.make_rule(when=KPI)
    await notify.hear(at(notify, "0.30", 3), at(notify, "0.10", 2), at(notify, "0.10", 1))
    assert await notify.alerts() == []
    await notify.hear(at(notify, "0.10", 6), at(notify, "0.90", 5))
    assert [alert["state"] for alert in await notify.alerts()] == ["firing"]


async def test_small_samples_and_null_values_say_nothing(notify: Notify) -> None:
    await notify.make_rule(when={**KPI, "min_sample_size": 10})
    await notify.hear(at(notify, "0.10", 1, sample_size=9), at(notify, None, 2, reason="no_closed_deals"))
    assert await notify.alerts() == []
    await notify.hear(at(notify, "0.10", 3, sample_size=10))
    await notify.hear(at(notify, "0.90", 4, sample_size=2))
    assert [alert["state"] for alert in await notify.alerts()] == ["firing"]


async def test_every_currency_is_watched_by_itself(notify: Notify) -> None:
    amount = {"kpi": "won_amount", "unit": "money"}
    await notify.make_rule(when={"kpi": "won_amount", "scope": "org", "grain": "month", "op": "ge", "threshold": 100})
    await notify.hear(
        at(notify, "150.00", 1, currency="CNY", **amount), at(notify, "20.00", 1, currency="USD", **amount)
    )
    (alert,) = await notify.alerts()
    assert (alert["subject"]["currency"], alert["subject"]["value"]) == ("CNY", "150.00")
    await notify.hear(at(notify, "120.00", 2, currency="USD", **amount))
    assert sorted(alert["subject"]["currency"] for alert in await notify.alerts(state="firing")) == ["CNY", "USD"]


async def test_other_scopes_and_fixed_ranges_are_not_meant(notify: Notify) -> None:
    await notify.make_rule(when=KPI)
    fixed = at(notify, "0.01", 1)
    watch = type(fixed.watch)(
        kpi="win_rate", scope="org", grain="month", start=date(2026, 11, 1), end=date(2026, 12, 1)
    )
    await notify.hear(msgspec.structs.replace(fixed, watch=watch), at(notify, "0.01", 1, scope=f"team:{uuid4()}"))
    assert await notify.alerts() == []


async def test_a_new_period_ends_what_was_open_of_the_old_one(notify: Notify) -> None:
    await notify.make_rule(when=KPI)
    await notify.hear(at(notify, "0.10", 1))
    december = {"period_start": date(2026, 12, 1), "period_end": date(2027, 1, 1)}
    await notify.hear(at(notify, "0.15", 2, **december))
    old, new = sorted(await notify.alerts(), key=lambda alert: alert["subject"]["period_start"])
    assert (old["state"], old["resolution"], new["state"]) == ("resolved", "period_ended", "firing")
    # A correction of the past is no news any more.
    await notify.hear(at(notify, "0.01", 3))
    assert len(await notify.alerts()) == 2


async def test_what_must_hold_fires_by_the_clock_as_of_when_it_was_due(notify: Notify) -> None:
    await notify.make_rule(when={**KPI, "for": "PT10M"})
    began = at(notify, "0.10", 1)
    await notify.hear(began)
    assert await notify.alerts() == []
    assert await notify.announced("notify.alert.changed.v1") == []
    notify.clock.advance(minutes=9)
    assert await notify.fire_due() == 0
    notify.clock.advance(minutes=2)
    assert [await notify.fire_due(), await notify.fire_due()] == [1, 0]
    (alert,) = await notify.announced("notify.alert.changed.v1")
    assert alert.fired_at == began.recorded_at + timedelta(minutes=10)
    assert [one["state"] for one in await notify.alerts()] == ["firing"]


async def test_what_did_not_hold_is_forgotten(notify: Notify) -> None:
    await notify.make_rule(when={**KPI, "for": "PT10M"})
    await notify.hear(at(notify, "0.10", 1))
    notify.clock.advance(minutes=5)
    await notify.hear(at(notify, "0.50", 2))
    notify.clock.advance(minutes=10)
    assert await notify.fire_due() == 0
    assert await notify.alerts() == []
    await notify.hear(at(notify, "0.10", 3))
    notify.clock.advance(minutes=5)
    assert await notify.fire_due() == 0


async def test_a_value_that_comes_late_finds_what_held_until_then(notify: Notify) -> None:
    await notify.make_rule(when={**KPI, "for": "PT10M"})
    await notify.hear(at(notify, "0.10", 1))
    notify.clock.advance(minutes=30)
    await notify.hear(at(notify, "0.50", 2))
    (alert,) = await notify.alerts()
    assert (alert["state"], alert["resolved_value"]) == ("resolved", "0.50")
    versions = [event.version for event in await notify.announced("notify.alert.changed.v1")]
    assert versions == sorted(set(versions))
    assert len(versions) == 2


async def test_another_condition_begins_anew_and_a_deleted_rule_is_quiet(notify: Notify) -> None:
    rule = await notify.make_rule(when=KPI)
    path, any_version = f"/notify/v1/rules/{rule['id']}", {"if-match": "*"}
    client = notify.client()
    await notify.hear(at(notify, "0.10", 1))
    await client.patch(path, json={"severity": "info"}, headers=any_version)
    assert len(await notify.alerts(state="firing")) == 1
    changed = await client.patch(path, json={"when": {**KPI, "threshold": "0.12"}}, headers=any_version)
    assert changed.status_code == 200
    assert sorted((one["state"], one["resolution"]) for one in await notify.alerts()) == [
        ("firing", None), ("resolved", "rule_changed"),
    ]  # fmt: skip
    await client.patch(path, json={"when": {**KPI, "threshold": "0.05"}}, headers=any_version)
    assert await notify.alerts(state="firing") == []
    await client.patch(path, json={"when": {**KPI, "threshold": "0.12"}}, headers=any_version)
    await client.delete(path, headers=any_version)
    assert await notify.alerts(state="firing") == []
    before = len(await notify.alerts())
    await notify.hear(at(notify, "0.01", 2))
    assert len(await notify.alerts()) == before


async def test_a_long_wobble_over_the_consumer_is_one_alert(notify: Notify) -> None:
    await notify.make_rule(when=KPI)
    for version, told in enumerate(["0.19", "0.20", "0.199", "0.203", "0.10", "0.2039"] * 3, 1):
        await notify.hear(at(notify, told, version))
    assert [alert["state"] for alert in await notify.alerts()] == ["firing"]
    assert len(await notify.announced("notify.alert.changed.v1")) == 1
