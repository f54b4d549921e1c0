"""Teams and people over HTTP: one or many, changes, history by date, names and who may see whom."""

import json

from shared.events.goals import PersonChanged, TeamChanged
from tests.services.goals.harness import Goals, Organisation


async def test_one_team_is_made_read_and_listed(goals: Goals):
    answer = await goals.call("POST", "/teams", {"external_id": "north", "name": "North"})
    made = json.loads(answer.body)
    assert (answer.status, answer.headers["location"]) == (201, f"/goals/v1/teams/{made['id']}")
    read = await goals.call("GET", f"/teams/{made['id']}")
    assert json.loads(read.body) == made
    assert read.headers["etag"] == answer.headers["etag"]
    not_changed = await goals.call("GET", f"/teams/{made['id']}", headers={"if-none-match": read.headers["etag"]})
    assert not_changed.status == 304
    assert (await goals.ok("GET", "/teams?external_id=north"))["items"] == [made]
    [event] = await goals.announced()
    assert isinstance(event, TeamChanged)
    assert (str(event.team_id), event.external_id) == (made["id"], "north")
    assert f'"{event.version}"' == answer.headers["etag"]


async def test_a_taken_external_id_is_told_with_its_owner(goals: Goals):
    made = await goals.ok("POST", "/teams", {"external_id": "north", "name": "North"})
    problem = await goals.problem("POST", "/teams", {"external_id": "north", "name": "Another"})
    assert (problem["status"], problem["code"], problem["id"]) == (409, "already_exists", made["id"])


async def test_a_list_has_a_fate_per_item_and_good_items_stay(goals: Goals):
    first = await goals.ok("POST", "/teams", {"external_id": "taken", "name": "Taken"})
    items = [
        {"external_id": "child", "name": "Child", "parent_id": "parent"},
        {"external_id": "parent", "name": "Parent"},
        {"external_id": "taken", "name": "Again"},
        {"external_id": "lost", "name": "Lost", "parent_id": "nowhere"},
        {"name": 7, "colour": "red"},
    ]
    answer = await goals.ok("POST", "/teams", items, 200)
    fates = answer["items"]
    assert [(fate["index"], fate["status"]) for fate in fates] == [(0, 201), (1, 201), (2, 409), (3, 422), (4, 422)]
    assert fates[2]["id"] == first["id"]
    assert fates[3]["problem"]["errors"][0]["pointer"] == "/parent_id"
    assert {error["pointer"] for error in fates[4]["problem"]["errors"]} == {"/external_id", "/name", "/colour"}
    child = await goals.ok("GET", f"/teams/{fates[0]['id']}")
    assert child["parent_id"] == fates[1]["id"]


async def test_lists_are_paged_with_signed_cursors(goals: Goals):
    await goals.ok("POST", "/people", [{"external_id": f"p{n}", "name": f"P{n}"} for n in range(5)])
    seen, cursor = [], ""
    while cursor is not None:
        page = await goals.ok("GET", f"/people?limit=2{cursor and '&cursor=' + cursor}")
        seen += [person["external_id"] for person in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"p{n}" for n in range(5)]
    first = await goals.ok("GET", "/people?limit=2")
    wrong = await goals.problem("GET", f"/people?limit=2&external_id=p1&cursor={first['next_cursor']}")
    assert wrong["status"] == 400


async def test_a_manager_may_be_told_of_before_being_known(goals: Goals):
    team = await goals.ok("POST", "/teams", {"external_id": "red", "name": "Red", "manager_id": "rita"})
    assert (team["manager_id"], team["manager_unresolved"]) == (None, "rita")
    await goals.announced()
    rita = await goals.ok("POST", "/people", {"external_id": "rita", "name": "Rita", "role": "manager"})
    settled = await goals.ok("GET", f"/teams/{team['id']}")
    assert (settled["manager_id"], settled["manager_unresolved"]) == (rita["id"], None)
    events = await goals.announced()
    assert [(type(event), event.version > 0) for event in events] == [(PersonChanged, True), (TeamChanged, True)]
    assert str(events[1].manager_id) == rita["id"]


async def test_changes_need_the_version_they_saw(goals: Goals, organisation: Organisation):
    path = f"/people/{organisation.people['ann']}"
    tag = (await goals.call("GET", path)).headers["etag"]
    assert (await goals.problem("PATCH", path, {"ability": 81}))["code"] == "precondition_required"
    changed = await goals.call("PATCH", path, {"ability": 81}, headers={"if-match": tag})
    assert json.loads(changed.body)["ability"] == 81
    assert (await goals.problem("PATCH", path, {"ability": 82}, headers={"if-match": tag}))["status"] == 412
    await goals.announced()
    same = await goals.call("PATCH", path, {"ability": 81}, headers={"if-match": "*"})
    assert same.headers["etag"] == changed.headers["etag"]
    assert await goals.announced() == []


async def test_a_move_between_teams_is_dated(goals: Goals, organisation: Organisation):
    ann, red, blue = organisation.people["ann"], organisation.teams["red"], organisation.teams["blue"]
    await goals.announced()
    moved = await goals.change(f"/people/{ann}", {"team_id": "blue", "effective_on": "2026-07-01"})
    assert moved["team_id"] == red  # until then
    [event] = await goals.announced()
    assert [(str(m.team_id), str(m.start), str(m.end)) for m in event.memberships] == [
        (red, "None", "2026-07-01"),
        (blue, "2026-07-01", "None"),
    ]
    history = await goals.ok("GET", f"/people/{ann}/history")
    assert [item["effective_on"] for item in history["items"]] == [None, "2026-07-01"]
    assert len(history["items"][1]["state"]["memberships"]) == 2
    assert history["next_cursor"] is None
    assert (await goals.ok("GET", f"/teams/{organisation.teams['red']}/history"))["next_cursor"] is None
    [before] = (await goals.ok("GET", f"/people/{ann}/history?on=2026-06-30"))["items"]
    assert before["state"]["memberships"] == [{"team_id": red, "start": None, "end": None}]
    assert {name: before["state"][name] for name in ("ability", "availability")} == {
        name: moved[name] for name in ("ability", "availability")
    }
    assert not [name for name in before["state"] if name.endswith("_bp")]
    assert "Ann" not in json.dumps(history)


async def test_leaving_ends_the_membership(goals: Goals, organisation: Organisation):
    ben = organisation.people["ben"]
    left = await goals.change(f"/people/{ben}", {"active": False, "effective_on": "2026-06-10"})
    assert (left["active"], left["team_id"]) == (False, None)
    back = await goals.change(f"/people/{ben}", {"active": True, "team_id": "red"})
    assert (back["active"], back["team_id"]) == (True, organisation.teams["red"])


async def test_what_cannot_be_is_told_by_pointer(goals: Goals, organisation: Organisation):
    red, north = organisation.teams["red"], organisation.teams["north"]
    loop = await goals.problem("PATCH", f"/teams/{north}", {"parent_id": "red"}, headers={"if-match": "*"})
    assert [(error["pointer"], error["code"]) for error in loop["errors"]] == [("/parent_id", "team_loop")]
    unknown = await goals.problem("POST", "/people", {"external_id": "x", "name": "X", "team_id": "nowhere"})
    assert [(error["pointer"], error["code"]) for error in unknown["errors"]] == [("/team_id", "unknown_team")]
    bad = {
        "external_id": "",
        "name": "X",
        "ability": 101,
        "availability": "1.5",
        "role": "boss",
        "experience_months": -1,
    }
    found = await goals.problem("POST", "/people", bad)
    assert {error["pointer"] for error in found["errors"]} == {
        "/external_id", "/ability", "/availability", "/role", "/experience_months",
    }  # fmt: skip
    assert (await goals.problem("GET", f"/teams/{organisation.people['ann']}"))["status"] == 404
    assert (await goals.problem("POST", "/people", {"external_id": "f", "name": "F", "ability": 50.0}))["status"] == 422
    team = await goals.ok("GET", f"/teams/{red}")
    assert team["parent_id"] == north


async def test_filters(goals: Goals, organisation: Organisation):
    red = await goals.ok("GET", f"/people?team_id={organisation.teams['red']}")
    assert {person["external_id"] for person in red["items"]} == {"rita", "ann", "ben"}
    assert (await goals.ok("GET", "/people?team_id=blue&external_id=cid"))["items"][0]["availability"] == "0.50"
    assert (await goals.ok("GET", "/people?team_id=nowhere"))["items"] == []
    below = await goals.ok("GET", "/teams?team_id=north")
    assert {team["external_id"] for team in below["items"]} == {"north", "red", "blue"}


async def test_who_may_see_and_change_whom(goals: Goals, organisation: Organisation):
    people = organisation.people
    mine = await goals.ok("GET", "/people", role="rep", person="ann")
    assert [person["external_id"] for person in mine["items"]] == ["ann"]
    team = await goals.ok("GET", "/people", role="manager", person="rita")
    assert {person["external_id"] for person in team["items"]} == {"rita", "ann", "ben"}
    assert [t["external_id"] for t in (await goals.ok("GET", "/teams", role="manager", person="rita"))["items"]] == [
        "red"
    ]
    for path in (
        f"/people/{people['cid']}",
        f"/people/{people['cid']}/history",
        f"/teams/{organisation.teams['blue']}",
    ):
        assert (await goals.problem("GET", path, role="manager", person="rita"))["status"] == 404
    for role in ("rep", "manager"):
        assert (await goals.problem("POST", "/people", {"external_id": "n", "name": "N"}, role=role))["status"] == 403
        assert (await goals.problem("POST", "/teams", {"external_id": "n", "name": "N"}, role=role))["status"] == 403
        headers = {"if-match": "*"}
        path = f"/people/{people['ann']}"
        assert (await goals.problem("PATCH", path, {"ability": 1}, role=role, headers=headers))["status"] == 403


async def test_names_for_those_who_render_texts(goals: Goals, organisation: Organisation):
    ann, red = organisation.people["ann"], organisation.teams["red"]
    found = await goals.ok("GET", f"/names?ids={ann},{red}&ids=external:ben&ids=nobody")
    assert {(item["kind"], item["external_id"], item["name"]) for item in found["items"]} == {
        ("person", "ann", "Ann"), ("person", "ben", "Ben"), ("team", "red", "Red"),
    }  # fmt: skip
    own = await goals.ok("GET", f"/names?ids={ann},{red},ben", role="rep", person="ann")
    assert [item["external_id"] for item in own["items"]] == ["ann"]
    await goals.change(f"/people/{ann}", {"name": None})
    [erased] = (await goals.ok("GET", f"/names?ids={ann}"))["items"]
    assert (erased["name"], erased["external_id"]) == (None, "ann")


async def test_names_stay_here(goals: Goals, organisation: Organisation):
    told = b"".join(message.value for message in await goals.sent())
    assert organisation.people["ann"].encode() in told
    assert b'"Ann"' not in told
    assert b'"Red"' not in told


async def test_a_repeated_post_with_its_key_is_one_post(goals: Goals):
    headers = {"idempotency-key": "k1"}
    body = [{"external_id": "p1", "name": "P1"}]
    first = await goals.call("POST", "/people", body, headers=headers)
    again = await goals.call("POST", "/people", body, headers=headers)
    assert (again.body, again.headers["idempotency-replayed"]) == (first.body, "true")
    assert len(await goals.announced()) == 1
