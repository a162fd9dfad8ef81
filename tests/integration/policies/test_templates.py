"""Templates over HTTP, and their refusals over both doors."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness.commands import fresh_id
from tests.harness.over_http import OverHttp
from tests.harness.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SPEC: dict[str, Any] = {
    "name": "Weather",
    "description": "Every morning",
    "category": "daily",
    "task_type": "echo",
    "default_config": {"params": {"units": "metric"}},
    "required_fields": ["params.location"],
    "config_schema": {"properties": {"params": {"properties": {"location": {"type": "string"}}}}},
    "tags": ["sky"],
    "defaults": {"schedule": {"kind": "daily", "time": "07:00"}},
}
PLACE: dict[str, Any] = {"config": {"params": {"location": "Berlin"}}}


async def _made(http: OverHttp, **changes: Any) -> dict[str, Any]:
    return await http.post("/templates", {"template_id": fresh_id("tpl"), **SPEC, **changes})


async def test_a_template_is_made_read_changed_and_deleted(running: World, http: OverHttp) -> None:
    template = fresh_id("tpl")
    body = {"template_id": template, **SPEC}
    answer = await http.client.post("/templates", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/api/v1/templates/{template}"
    assert answer.headers["ETag"] == '"1"'
    again = await http.client.post("/templates", json=body)
    assert again.status_code == 200, again.text
    shown = await http.get(f"/templates/{template}")
    assert shown == {**answer.json(), "available": True}
    changed = await http.client.put(f"/templates/{template}", json={**shown, "credits_per_run": 3})
    assert (changed.status_code, changed.json()["version"]) == (200, 2), changed.text
    stale = await http.client.patch(f"/templates/{template}", json={}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_mismatch")
    history = (await http.get(f"/templates/{template}/history"))["items"]
    assert [(one["what"], one["version"], one["user_id"]) for one in history] == [
        ("updated", 2, "local"),
        ("created", 1, "local"),
    ]
    assert history[0]["changes"] == [{"field": "credits_per_run", "old": 0, "new": 3}]
    gone = await http.client.delete(f"/templates/{template}")
    assert gone.status_code == 204, gone.text
    assert (await http.client.get(f"/templates/{template}")).status_code == 404
    command = await http.client.post("/templates", json=body)
    assert (command.status_code, command.json()["code"]) == (409, "deleted")


async def test_br_tpl_001_an_id_is_one_template_s(running: World, http: OverHttp) -> None:
    template = (await _made(http))["template_id"]
    other = await http.client.post("/templates", json={**SPEC, "template_id": template, "name": "Other"})
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
    ids = {(await http.post("/templates", SPEC))["template_id"] for _ in range(3)}
    assert len(ids) == 3


async def test_br_tpl_003_lists_show_active_templates_of_the_tier_and_filter_them(
    running: World, http: OverHttp
) -> None:
    mark = fresh_id("m")
    free = (await _made(http, tags=[mark], name=f"{mark} b"))["template_id"]
    pro = (await _made(http, tags=[mark], name=f"{mark} a", required_subscription_level="pro"))["template_id"]
    off = (await _made(http, tags=[mark], name=f"{mark} c", is_active=False, category="old"))["template_id"]

    async def listed(**params: Any) -> list[str]:
        found = await http.get("/templates", tag=mark, **params)
        return [one["template_id"] for one in found["items"]]

    assert await listed() == [free]
    assert await listed(subscription_level="basic") == [free]
    assert await listed(subscription_level="pro") == [pro, free]
    assert await listed(subscription_level="pro", include_inactive="true") == [pro, free, off]
    assert await listed(subscription_level="pro", sort="-name") == [free, pro]
    assert await listed(category="old", include_inactive="true") == [off]
    assert await listed(q=f"{mark} B") == [free]
    assert await listed(task_type="sleep") == []
    items = (await http.get("/templates", tag=mark, subscription_level="pro"))["items"]
    assert [one["available"] for one in items] == [False, True]
    page = await http.get("/templates", tag=mark, subscription_level="pro", limit=1)
    assert [one["template_id"] for one in page["items"]] == [pro]
    assert await listed(subscription_level="pro", limit=1, cursor=page["next_cursor"]) == [free]
    bad = await http.client.get("/templates", params={"subscription_level": "gold"})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "#/subscription_level")


async def test_a_task_is_made_from_a_template(running: World, http: OverHttp) -> None:
    """Scenario 6: browse, choose, fill in what is required."""
    template = (await _made(http))["template_id"]
    answer = await http.client.post(f"/templates/{template}/instantiate", json={**PLACE, "name": "Mine"})
    assert answer.status_code == 201, answer.text
    task = answer.json()
    assert answer.headers["Location"] == f"/api/v1/tasks/{task['task_id']}"
    assert task["config"] == {"params": {"units": "metric", "location": "Berlin"}}
    assert (task["name"], task["template_id"], task["status"]) == ("Mine", template, "scheduled")
    other = await http.post("/tasks", {**PLACE, "template_id": template})
    assert other["name"] == "Weather"
    found = await http.get("/tasks", template_id=template)
    assert {one["task_id"] for one in found["items"]} == {task["task_id"], other["task_id"]}
    planned = await http.client.post("/tasks?dry_run=true", json={**PLACE, "template_id": template})
    assert planned.status_code == 200, planned.text
    assert planned.json()["task"]["config"] == task["config"]
    wrong = await http.client.post(f"/templates/{template}/instantiate", json={**PLACE, "template_id": "x"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "#/template_id")


REFUSED: list[tuple[dict[str, Any], dict[str, Any], int, str, str]] = [
    ({}, {}, 422, "invalid", "#/config/params/location"),
    (PLACE, {"required_fields": ["name"]}, 422, "invalid", "#/name"),
    ({"config": {"params": {"location": 7}}}, {}, 422, "invalid_config", "#/config/params/location"),
    ({**PLACE, "task_type": "sleep"}, {}, 422, "invalid", "#/task_type"),
    (PLACE, {"is_active": False}, 409, "template_inactive", "#/template_id"),
    (PLACE, {"required_subscription_level": "basic"}, 403, "subscription_required", "#/template_id"),
    ({**PLACE, "template_id": "none"}, {}, 404, "template_not_found", "#/template_id"),
    ({**PLACE, "template_id": "_"}, {}, 422, "invalid_id", "#/template_id"),
    ({**PLACE, "template_id": 7}, {}, 422, "invalid", "#/template_id"),
    ({**PLACE, "priority": "top", "nam": "x"}, {}, 422, "invalid", "#/priority"),
    ({**PLACE, "schedule": {"kind": "yearly"}}, {}, 422, "invalid_schedule", "#/schedule/kind"),
    (PLACE, {"task_type": "unheard-of"}, 422, "unknown_task_type", "#/task_type"),
]


@pytest.mark.parametrize(("body", "template", "status", "code", "pointer"), REFUSED)
async def test_both_doors_refuse_the_same_with_the_same_words(
    running: World,
    http: OverHttp,
    body: dict[str, Any],
    template: dict[str, Any],
    status: int,
    code: str,
    pointer: str,
) -> None:
    """And a dry run too."""
    body = {"template_id": (await _made(http, **template))["template_id"], **body}
    answer = await http.client.post("/tasks", json=body, headers={"X-User-Id": "u1"})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert pointer in [error["pointer"] for error in problem["errors"]], problem
    headers = {"Gnomon-User": "u1", "Gnomon-Roles": "admin"}
    over_nats = (await running.commands.send("create", fresh_id("t"), body, headers=headers))["error"]
    planned = (await http.client.post("/tasks?dry_run=true", json=body, headers={"X-User-Id": "u1"})).json()
    for other in (over_nats, planned):
        assert _said(other) == _said(problem)


def _said(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "trace_id"}


async def test_templates_from_the_terminal(running: World, http: OverHttp, tmp_path: Path) -> None:
    """Made from a file, listed, used, changed and deleted by `gnomon template`; the how-to page shows the rest."""
    template, mark = fresh_id("tpl"), fresh_id("m")
    file = tmp_path / "template.json"
    file.write_bytes(msgspec.json.encode({**SPEC, "tags": [mark]}))

    async def gnomon(*arguments: str, fails: bool = False) -> str:
        url = str(http.client.base_url).removesuffix("/api/v1/")
        said = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "gnomon_cli", "template", *arguments, "--url", url],
            capture_output=True,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        )
        assert (said.returncode != 0) is fails, said.stderr.decode()
        return (said.stderr if fails else said.stdout).decode()

    assert f"{template} made" in await gnomon("create", "--file", str(file), "--id", template)
    listed = await gnomon("list", "--tag", mark)
    assert template in listed
    assert "params.location" in listed
    assert "config.params.location (--config)" in await gnomon("use", template, fails=True)
    place = '{"params": {"location": "Berlin"}}'
    made = msgspec.json.decode(await gnomon("use", template, "--config", place, "--name", "Mine", "--json"))
    assert (made["name"], made["template_id"]) == ("Mine", template)
    assert "version 2" in await gnomon("update", template, "--deactivate")
    assert "deleted" in await gnomon("delete", template)


async def test_the_tier_of_an_account_opens_its_templates_at_once(running: World, http: OverHttp) -> None:
    """Asked right after the account was changed, through whichever shard the task is in."""
    user, mark = fresh_id("u"), fresh_id("m")
    template = (await _made(http, tags=[mark], required_subscription_level="pro"))["template_id"]
    acting = {"X-User-Id": user}
    body = {**PLACE, "template_id": template}
    made: list[str] = []
    for tier, status in (("basic", 403), ("enterprise", 201), ("free", 403)):
        changed = await http.client.put(f"/accounts/{user}", json={"tier": tier})
        assert changed.status_code in (200, 201), changed.text
        for _ in range(3):
            answer = await http.client.post("/tasks", json=body, headers=acting)
            assert answer.status_code == status, answer.text
            made += [answer.json()["task_id"]] if status == 201 else []
        listed = (await http.client.get("/templates", params={"tag": mark}, headers=acting)).json()
        assert [one["template_id"] for one in listed["items"]] == ([template] if status == 201 else [])
    # What was made while the tier allowed it is the user's: it is changed and runs, whatever becomes of the template.
    await http.client.patch(f"/templates/{template}", json={"is_active": False, "required_fields": ["zip"]})
    path = f"/tasks/{made[0]}"
    changed = await http.client.patch(path, json={"name": "Mine", "config": PLACE["config"]}, headers=acting)
    assert changed.status_code == 200, changed.text
    ran = await http.client.post(f"{path}/execute", headers=acting)
    assert ran.is_success, ran.text
    await running.events.one("executed", made[0])
