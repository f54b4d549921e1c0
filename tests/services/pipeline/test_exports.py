"""What pipeline announced can be read again, complete and unchanged, by admins only."""

import json
from typing import Any

from tests.services.pipeline.serving import Pipeline


async def exported(pipeline: Pipeline, topic: str, limit: int) -> list[Any]:
    found: list[Any] = []
    path = f"/exports/{topic}?limit={limit}"
    while path:
        page = await pipeline.ok("GET", path)
        found += page["items"]
        path = f"/exports/{topic}?limit={limit}&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    return found


async def test_streams_are_exported_as_they_were_announced(field_sales: Pipeline):
    customer = await field_sales.ok("POST", "/customers", {"name": "Harbour Works"}, 201)
    deals = [await field_sales.deal(customer_id=customer["id"]) for _ in range(5)]
    for deal in deals:
        await field_sales.move(deal, "dropped", lost_reason="price")
    await field_sales.ok("DELETE", f"/deals/{deals[0]['id']}", status=204, headers={"if-match": "*"})
    await field_sales.ok("DELETE", f"/customers/{customer['id']}", status=204, headers={"if-match": "*"})
    sent = await field_sales.sent()
    for topic in ("pipeline.deals.v1", "pipeline.customers.v1"):
        mine = [message for message in sent if message.topic == topic]
        for limit in (2, 5, 500):
            items = await exported(field_sales, topic, limit)
            assert len(items) == len(mine)
            for message in mine:
                told = {"topic": topic, "key": message.key, "headers": dict(message.headers)}
                assert {**told, "value": json.loads(message.value)} in items
    keys = [item["key"] for item in await exported(field_sales, "pipeline.deals.v1", 2)]
    assert keys == sorted(keys)


async def test_one_stream_is_exported_behind_a_version(field_sales: Pipeline):
    deal = await field_sales.deal()
    await field_sales.move(deal, "dropped", lost_reason="price")
    stream = f"deal:{deal['id']}"
    for after, versions in ((0, ["1", "2"]), (1, ["2"]), (2, [])):
        page = await field_sales.ok("GET", f"/exports/pipeline.deals.v1?stream={stream}&after_version={after}")
        assert [item["headers"]["ce_sequence"] for item in page["items"]] == versions
    assert (await field_sales.ok("GET", "/exports/pipeline.deals.v1?stream=deal:nonsense"))["items"] == []


async def test_processes_are_exported_in_their_newest_version(pipeline: Pipeline):
    await pipeline.publish()
    await pipeline.publish(moves="any")
    newest = (await pipeline.sent())[-1]
    items = await exported(pipeline, "pipeline.processes.v1", 1)
    assert [item["key"] for item in items] == ["process:field-sales", "process:standard"]
    assert items[0]["value"] == json.loads(newest.value)
    assert items[0]["headers"]["ce_id"] == newest.headers["ce_id"]
    version = newest.headers["ce_sequence"]
    path = "/exports/pipeline.processes.v1?stream=process:field-sales&after_version="
    assert len((await pipeline.ok("GET", f"{path}{int(version) - 1}"))["items"]) == 1
    assert (await pipeline.ok("GET", f"{path}{version}"))["items"] == []


async def test_exports_are_for_admins(pipeline: Pipeline):
    await pipeline.problem("GET", "/exports/pipeline.deals.v1", status=403, role="manager", person="rita")
    await pipeline.problem("GET", "/exports/kpi.values.v1", status=404)
