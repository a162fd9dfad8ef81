"""Tasks made from templates, over NATS: merged by the shard of the task, wherever the template lives."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_schemas.events import Created
from gnomon_schemas.problems import Code
from tests.harness.commands import fresh_id
from tests.harness.world import World
from tests.integration.scheduler.led import FAR, Led

SPEC: dict[str, Any] = {
    "name": "Nap",
    "task_type": "strict",
    "default_config": {"seconds": 5, "quiet": True},
    "required_fields": ["seconds"],
    "optional_fields": [],
    "credits_per_run": 2,
    "defaults": {"schedule": FAR, "priority": "low"},
}
USER = {"Gnomon-User": "u1"}


async def _template(led: Led, **changes: Any) -> str:
    template = fresh_id("tpl")
    await led.commands.ok("create", template, {**SPEC, **changes}, kind="template")
    return template


@pytest.mark.asyncio(loop_scope="module")
async def test_br_tpl_004_the_default_config_is_merged_with_the_callers(led: Led) -> None:
    template, task = await _template(led), fresh_id("t")
    body = {"template_id": template, "config": {"seconds": 7}}
    made = (await led.commands.ok("create", task, body, headers=USER))["task"]
    assert (made["name"], made["task_type"], made["priority"]) == ("Nap", "strict", "low")
    assert made["config"] == {"seconds": 7, "quiet": True}
    assert (made["credits_per_run"], made["template_id"]) == (2, template)
    assert made["schedule"]["kind"] == "interval"
    created = (await led.events.one("created", task)).event
    assert isinstance(created, Created)
    assert created.task.template_id == template


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_body_again_is_the_same_task_whatever_became_of_the_template(led: Led) -> None:
    template, task = await _template(led), fresh_id("t")
    body = {"template_id": template, "config": {"seconds": 7}}
    await led.commands.ok("create", task, body)
    await led.commands.ok("update", template, {"default_config": {"seconds": 1}}, kind="template")
    assert not (await led.commands.ok("create", task, body)).get("created")
    await led.commands.ok("delete", template, {}, kind="template")
    assert not (await led.commands.ok("create", task, body)).get("created")
    await led.refused("create", task, {**body, "config": {"seconds": 8}}, code=Code.ALREADY_EXISTS)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("body", "template", "code", "pointer"),
    [
        ({"config": {}}, {}, Code.INVALID, "#/config/seconds"),
        ({"config": {"seconds": 7, "quiet": False}}, {}, Code.INVALID, "#/config/quiet"),
        ({"config": {"seconds": 7}, "credits_per_run": 1}, {}, Code.INVALID, "#/credits_per_run"),
        ({"config": {"seconds": 7}}, {"is_active": False}, Code.TEMPLATE_INACTIVE, "#/template_id"),
        (
            {"config": {"seconds": 7}},
            {"required_subscription_level": "pro"},
            Code.SUBSCRIPTION_REQUIRED,
            "#/template_id",
        ),
        ({"config": {"seconds": 7}, "template_id": "none"}, {}, Code.TEMPLATE_NOT_FOUND, "#/template_id"),
        ({"config": {"seconds": 7}, "template_id": "_x"}, {}, Code.INVALID_ID, "#/template_id"),
        # The template is content, its type is not.
        ({"config": {"seconds": 70}}, {}, Code.INVALID_CONFIG, "#/config/seconds"),
    ],
)
async def test_what_does_not_fit_is_refused_and_says_which_field(
    led: Led, body: dict[str, Any], template: dict[str, Any], code: Code, pointer: str
) -> None:
    name = await _template(led, **template)
    await led.refused(
        "create", fresh_id("t"), {"template_id": name, **body}, code=code, pointer=pointer, headers=USER
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_keeps_its_template_and_its_price(led: Led) -> None:
    template, task = await _template(led), fresh_id("t")
    await led.commands.ok("create", task, {"template_id": template, "config": {"seconds": 7}}, headers=USER)
    for patch, code, pointer in (
        ({"template_id": "other"}, Code.INVALID, "#/template_id"),
        ({"credits_per_run": 0}, Code.FORBIDDEN, "#/credits_per_run"),
    ):
        await led.refused("update", task, patch, code=code, pointer=pointer, headers=USER)
    changed = await led.commands.ok("update", task, {"template_id": template, "name": "Mine"}, headers=USER)
    assert changed["task"]["name"] == "Mine"
    cheaper = await led.commands.ok("update", task, {"credits_per_run": 1})
    assert cheaper["task"]["credits_per_run"] == 1


async def test_a_template_can_be_used_through_any_shard_as_soon_as_it_is_told(world: World) -> None:
    """Though the catalogue of the other shard's process has heard nothing of it: it is looked up."""
    await world.fake_executor()
    async with world.leader(partition=1), world.leader(partition=0) as near:
        await near.objects.abort()  # hears no more
        for number in range(3):
            template = world.task_in(1, f"far{number}-")
            await world.commands.ok("create", template, {"name": "x", "task_type": "echo"}, kind="template")
            made = await world.commands.ok(
                "create", world.task_in(0, f"t{number}-"), {"template_id": template}
            )
            assert made["task"]["name"] == "x"
            await world.commands.ok("update", template, {"is_active": False}, kind="template")
            refused = await world.commands.send(
                "create", world.task_in(0, f"u{number}-"), {"template_id": template}
            )
            assert refused["error"]["code"] == Code.TEMPLATE_INACTIVE
