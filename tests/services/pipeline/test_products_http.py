"""The product catalogue over HTTP."""

import json

from tests.services.pipeline.serving import Pipeline

PRODUCT = {
    "code": "GTX Pro",
    "name": "GTX Pro",
    "series": "GTX",
    "list_price": {"amount": "4821.00", "currency": "USD"},
}


async def test_a_product_is_made_once_and_read_back(pipeline: Pipeline):
    made = await pipeline.ok("POST", "/products", PRODUCT, 201)
    assert made == PRODUCT | {"active": True, "version": 1}
    assert await pipeline.ok("GET", "/products/GTX%20Pro") == made
    assert (await pipeline.ok("GET", "/products"))["items"] == [made]
    problem = await pipeline.problem("POST", "/products", PRODUCT, status=409)
    assert problem["code"] == "already_exists"
    await pipeline.problem("GET", "/products/nothing", status=404)


async def test_a_price_must_be_money(pipeline: Pipeline):
    bad = PRODUCT | {"list_price": {"amount": "1.234", "currency": "USD"}}
    problem = await pipeline.problem("POST", "/products", bad, status=422)
    assert problem["errors"][0]["pointer"].startswith("/list_price")


async def test_a_change_needs_the_version_it_knows(pipeline: Pipeline):
    await pipeline.ok("POST", "/products", PRODUCT, 201)
    path = "/products/GTX%20Pro"
    await pipeline.problem("PATCH", path, {"active": False}, status=428)
    await pipeline.problem("PATCH", path, {"active": False}, headers={"if-match": '"7"'}, status=412)
    answer = await pipeline.call("PATCH", path, {"active": False}, headers={"if-match": '"1"'})
    changed = json.loads(answer.body)
    assert (answer.status, answer.headers["etag"]) == (200, '"2"')
    assert (changed["active"], changed["name"], changed["version"]) == (False, "GTX Pro", 2)


async def test_a_code_may_be_any_text(pipeline: Pipeline):
    answer = await pipeline.call("POST", "/products", {"code": "水泵 3/4", "name": "水泵"})
    assert answer.status == 201
    location = answer.headers["location"]
    assert location == "/pipeline/v1/products/%E6%B0%B4%E6%B3%B5%203%2F4"
    assert await pipeline.ok("GET", location.removeprefix("/pipeline/v1")) == json.loads(answer.body)
