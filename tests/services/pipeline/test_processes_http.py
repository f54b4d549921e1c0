"""Processes over HTTP: versions, validation with all errors, the default one, who may publish."""

import asyncio
import json
from typing import Any

from shared.events.pipeline import ProcessChanged
from tests.services.pipeline.building import definition, names, stage
from tests.services.pipeline.serving import Pipeline


async def test_the_default_process_is_there_once_and_announced_once(pipeline: Pipeline):
    standard = await pipeline.ok("GET", "/processes/standard")
    assert (standard["version"], standard["moves"]) == (1, "forward")
    assert standard["stages"][0]["code"] == "prospecting"
    assert standard["stages"][0]["tasks"][0]["name"] == {"zh": "市场调研", "en": "Market research"}
    await pipeline.run_job("default_process")
    assert await pipeline.sent() == []
    assert [item["code"] for item in (await pipeline.ok("GET", "/processes"))["items"]] == ["standard"]


async def test_what_was_published_is_read_back(pipeline: Pipeline):
    answer = await pipeline.call("POST", "/processes", definition())
    made = json.loads(answer.body)
    assert (answer.status, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == "/pipeline/v1/processes/field-sales?version=1"
    read = await pipeline.ok("GET", "/processes/field-sales?version=1")
    assert read == made
    sent = definition()
    for told, found in zip(sent["stages"], read["stages"], strict=True):
        assert {key: found[key] for key in ("code", "name", "kind")} == {
            key: told[key] for key in ("code", "name", "kind")
        }
        assert found["sla"] == told.get("sla")
    assert [task["mandatory"] for task in read["stages"][0]["tasks"]] == [True, False]
    # The stage has a mandatory task, so its gate asks for it.
    assert [criterion["kind"] for criterion in read["stages"][1]["exit_criteria"]] == ["tasks_done", "field_at_least"]
    (event,) = await pipeline.announced()
    assert isinstance(event, ProcessChanged)
    assert (event.code, event.process_version, [stage.order for stage in event.stages]) == (
        "field-sales",
        1,
        [0, 1, 2, 3, 4],
    )


async def test_a_change_is_the_next_version_and_a_repeat_is_none(pipeline: Pipeline):
    await pipeline.publish()
    repeat = await pipeline.call("POST", "/processes", definition())
    assert (repeat.status, json.loads(repeat.body)["version"]) == (200, 1)
    changed = await pipeline.ok("POST", "/processes", definition(moves="any"), 201)
    assert changed["version"] == 2
    assert (await pipeline.ok("GET", "/processes/field-sales"))["moves"] == "any"
    assert (await pipeline.ok("GET", "/processes/field-sales?version=1"))["moves"] == "forward"
    first, second = await pipeline.announced()
    assert first.version < second.version
    await pipeline.problem("GET", "/processes/field-sales?version=3", status=404)
    await pipeline.problem("GET", "/processes/nothing", status=404)


async def test_deals_keep_the_version_they_were_made_under(pipeline: Pipeline):
    await pipeline.publish(moves=[["visit", "dropped"]])
    old = await pipeline.deal()
    await pipeline.publish(moves="any")
    new = await pipeline.deal()
    assert (old["process_version"], new["process_version"]) == (1, 2)
    refused = json.loads((await pipeline.move(old, "signing")).body)
    assert refused["code"] == "move_not_allowed"
    assert json.loads((await pipeline.move(new, "signing")).body)["code"] == "gate_unmet"


async def test_every_error_of_the_shape_is_told_at_once(pipeline: Pipeline):
    body: dict[str, Any] = definition(colour="red")
    del body["name"]["en"]
    body["stages"][0]["kind"] = "half"
    body["stages"][1]["exit_criteria"][0] = {"kind": "wish"}
    problem = await pipeline.problem("POST", "/processes", body)
    assert problem["code"] == "validation_failed"
    assert {error["pointer"] for error in problem["errors"]} == {
        "/colour",
        "/name/en",
        "/stages/0/kind",
        "/stages/1/exit_criteria/0",
    }


async def test_every_error_of_the_meaning_is_told_at_once_in_the_callers_language(pipeline: Pipeline):
    body = definition(stages=[stage("a", sla="soon"), stage("a")], moves=[["a", "b"]])
    zh = await pipeline.problem("POST", "/processes", body, headers={"accept-language": "zh"})
    assert [(error["pointer"], error["code"]) for error in zh["errors"]] == [
        ("/stages/1/code", "duplicate_code"),
        ("/stages/0/sla", "invalid_duration"),
        ("/stages", "no_won_stage"),
        ("/moves/0/1", "unknown_stage"),
    ]
    assert zh["errors"][2]["detail"] == "至少需要一个赢单阶段"
    assert (await pipeline.ok("GET", "/processes"))["items"][0]["code"] == "standard"


async def test_tasks_are_mandatory_where_the_stage_asks_for_them(pipeline: Pipeline):
    tasks = [{"code": "call", "name": names("Call")}]
    asked = stage("a", tasks=tasks, exit_criteria=[{"kind": "tasks_done"}], win_probability=0.25)
    made = await pipeline.publish(stages=[asked, stage("b", tasks=tasks), stage("won", "won")])
    assert [each["tasks"][0]["mandatory"] for each in made["stages"][:2]] == [True, False]
    assert made["stages"][0]["win_probability"] == "0.25"


async def test_reps_read_and_do_not_publish(pipeline: Pipeline):
    assert (await pipeline.ok("GET", "/processes", role="rep", person="ann"))["items"]
    await pipeline.problem("POST", "/processes", definition(), status=403, role="rep", person="ann")
    await pipeline.problem("GET", "/processes", status=401, headers={"authorization": "Bearer nonsense"})


async def test_concurrent_publications_of_one_code_are_versions_in_order(pipeline: Pipeline):
    bodies = [definition(name=names(f"Name {number}")) for number in range(6)]
    made = await asyncio.gather(*(pipeline.ok("POST", "/processes", body, 201) for body in bodies))
    assert sorted(each["version"] for each in made) == [1, 2, 3, 4, 5, 6]
    events = await pipeline.announced()
    assert sorted(event.process_version for event in events) == [1, 2, 3, 4, 5, 6]
    newest = max(events, key=lambda event: event.version)
    assert newest.process_version == 6


async def test_lists_go_on_behind_their_cursor(pipeline: Pipeline):
    for code in ("alpha", "beta"):
        await pipeline.publish(code=code)
    first = await pipeline.ok("GET", "/processes?limit=2")
    assert [item["code"] for item in first["items"]] == ["alpha", "beta"]
    rest = await pipeline.ok("GET", f"/processes?limit=2&cursor={first['next_cursor']}")
    assert ([item["code"] for item in rest["items"]], rest["next_cursor"]) == (["standard"], None)
