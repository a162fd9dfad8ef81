"""Objects besides tasks, shown with templates: decided once, fenced, kept, deleted, set aside where unreadable."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_core.runtime.messages import Stored
from gnomon_scheduler.object_registers import TemplateRegister
from gnomon_scheduler.sweep import Sweep
from gnomon_schemas.codec import decode
from gnomon_schemas.object_kinds import OBJECT_KINDS
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.problems import Code
from gnomon_schemas.subjects import EVENTS_STREAM, object_register, parse_event
from gnomon_schemas.templates import TemplateCreated, TemplateUpdated
from tests.harness.commands import fresh_id
from tests.harness.world import World
from tests.integration.scheduler.led import Led

SPEC: dict[str, Any] = {"name": "Daily", "task_type": "echo", "default_config": {"a": 1}}
ADMIN = {"Gnomon-User": "root", "Gnomon-Roles": "admin"}


async def _events(world: World, template: str) -> list[ObjectEvent]:
    """The events of a template, in order, read from the stream."""
    found = await world.bus.multi_last(EVENTS_STREAM, [f"template.*.*.{template}._"])
    return [_decoded(stored) for stored in sorted(found, key=lambda one: one.seq)]


def _decoded(stored: Stored) -> ObjectEvent:
    name = parse_event(stored.subject).name
    return decode(stored.data, OBJECT_KINDS["template"].events[name])


async def _register(world: World, template: str) -> tuple[Stored, TemplateRegister] | None:
    subject = object_register("template", world.partition(template), template)
    last = await world.bus.last(EVENTS_STREAM, subject)
    return None if last is None else (last, decode(last.data, TemplateRegister))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_template_is_made_changed_and_deleted_with_its_register(led: Led) -> None:
    template = fresh_id("tpl")
    made = await led.commands.ok("create", template, SPEC, kind="template", headers=ADMIN)
    assert made["created"]
    assert (made["template"]["version"], made["template"]["default_config"]) == (1, {"a": 1})
    changed = await led.commands.ok(
        "update", template, {"is_active": False}, kind="template", headers={**ADMIN, "Gnomon-If-Match": '"1"'}
    )
    assert (changed["template"]["version"], changed["template"]["is_active"]) == (2, False)
    kept = await _register(led.world, template)
    assert kept is not None
    assert (kept[1].version, kept[1].spec.is_active, len(kept[1].ring)) == (2, False, 2)
    created, updated = await _events(led.world, template)
    assert isinstance(created, TemplateCreated)
    assert isinstance(updated, TemplateUpdated)
    assert updated.changed_by == "root"
    assert [(change.field, change.old, change.new) for change in updated.changes] == [
        ("is_active", True, False)
    ]
    gone = await led.commands.ok("delete", template, {}, kind="template", headers=ADMIN)
    assert "template" not in gone
    kept = await _register(led.world, template)
    assert kept is not None
    assert kept[1].deleted_ms is not None
    for verb, body, code in (("update", {}, Code.NOT_FOUND), ("create", SPEC, Code.DELETED)):
        await led.refused(verb, template, body, code=code, kind="template", headers=ADMIN)


@pytest.mark.asyncio(loop_scope="module")
async def test_what_changes_nothing_leaves_the_version_and_says_so(led: Led) -> None:
    template = fresh_id("tpl")
    await led.commands.ok("create", template, SPEC, kind="template")
    again = await led.commands.ok("create", template, SPEC, kind="template")
    assert not again.get("created")
    shown = again["template"]
    same = await led.commands.ok("update", template, {**shown, "name": "Daily"}, kind="template")
    assert same["template"] == shown, "a read that is sent back changes nothing"
    events = await _events(led.world, template)
    assert [event.changes for event in events if isinstance(event, TemplateUpdated)] == [()]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("verb", "body", "options", "code", "pointer"),
    [
        ("update", {"name": "x"}, {"headers": {"Gnomon-User": "u1"}}, Code.FORBIDDEN, None),
        ("update", {"name": "x"}, {"headers": {"Gnomon-If-Match": "7"}}, Code.VERSION_MISMATCH, None),
        ("update", {"name": ""}, {}, Code.INVALID, "#/name"),
        ("update", {"nam": "x"}, {}, Code.UNKNOWN_FIELD, "#/nam"),
        ("update", {"task_type": None}, {}, Code.INVALID, "#/task_type"),
        ("create", {"name": "other", "task_type": "echo"}, {}, Code.ALREADY_EXISTS, None),
        ("create", {"name": "x"}, {}, Code.INVALID, "#/task_type"),
        ("update", {"required_subscription_level": "gold"}, {}, Code.INVALID, "#/required_subscription_level"),
        ("update", {"config_schema": {"type": 7}}, {}, Code.INVALID, "#/config_schema"),
        ("update", {"defaults": {"priority": "top"}}, {}, Code.INVALID, "#/defaults/priority"),
        ("update", {"defaults": {"schedule": {"kind": "cron", "expression": "nope"}}}, {}, Code.INVALID,
         "#/defaults/schedule/expression"),
        ("update", {"defaults": {"config": {}}}, {}, Code.UNKNOWN_FIELD, "#/defaults/config"),
        ("update", {"required_fields": ["a..b"]}, {}, Code.INVALID, "#/required_fields/0"),
        ("update", {"default_config": [1]}, {}, Code.INVALID, "#/default_config"),
        ("pause", {}, {}, Code.UNKNOWN_VERB, None),
    ],
)  # fmt: skip
async def test_a_bad_command_changes_nothing_and_says_why(
    led: Led, verb: str, body: Any, options: dict[str, Any], code: Code, pointer: str | None
) -> None:
    await led.commands.ok("create", "tpl-steady", SPEC, kind="template")
    before = await _register(led.world, "tpl-steady")
    await led.refused(verb, "tpl-steady", body, code=code, pointer=pointer, kind="template", **options)
    after = await _register(led.world, "tpl-steady")
    assert before is not None
    assert after is not None
    assert before[0].seq == after[0].seq


async def test_a_leader_killed_between_batch_and_answer_is_answered_for_by_the_next(world: World) -> None:
    """Stored and not answered: found in the object's ring. Not stored: decided by the successor, once."""
    template = world.task_in(0)
    first = await (await world.leader().connect()).lead()
    stored = first.bus.trap("template.created.*", on="batch", when="after")
    made, _ = await world.commands.post("create", template, SPEC, kind="template")
    await stored.reached.wait()
    await first.die()

    second = await (await world.leader().connect()).lead()
    outcome = await world.commands.outcome(made)
    assert outcome["ok"]
    assert outcome["replayed"]
    assert outcome["template"]["version"] == 1
    not_yet = second.bus.trap("template.updated.*", on="batch")
    changed, _ = await world.commands.post("update", template, {"name": "Weekly"}, kind="template")
    await not_yet.reached.wait()
    await second.die()

    await (await world.leader().connect()).lead()
    outcome = await world.commands.outcome(changed)
    assert (outcome["template"]["name"], outcome["template"]["version"]) == ("Weekly", 2)
    assert not outcome.get("replayed")
    assert len(await _events(world, template)) == 2


async def test_a_stale_leader_stores_neither_register_nor_event(world: World) -> None:
    template = world.task_in(0)
    zombie = await (await world.leader(name="zombie").connect()).lead()
    await world.commands.ok("create", template, SPEC, kind="template")
    held = zombie.bus.trap("template.updated.*", on="batch")
    command, _ = await world.commands.post("update", template, {"name": "late"}, kind="template")
    await held.reached.wait()
    successor = await (await world.leader(name="successor").connect()).lead()
    outcome = await world.commands.outcome(command)
    assert (outcome["template"]["name"], outcome["template"]["version"]) == ("late", 2)
    kept = await _register(world, template)
    held.release()
    await zombie.shard.deposed.wait()
    assert kept is not None
    assert await _register(world, template) == kept
    assert not successor.shard.deposed.is_set()


async def test_a_register_that_cannot_be_read_is_set_aside_and_the_shard_goes_on(world: World) -> None:
    broken, sound = world.task_in(0, "broken"), world.task_in(0, "sound")
    async with world.leader():
        for template in (broken, sound):
            await world.commands.ok("create", template, SPEC, kind="template")
    await world.bus.publish(
        f"gnomon.write.{object_register('template', 0, broken)}",
        msgspec.json.encode({"type": "gnomon.state.template.v9", "object_id": broken}),
        {"Nats-Rollup": "sub"},
    )
    async with world.leader() as leader:
        assert broken not in leader.objects.known["template"]
        refused = await world.commands.send("update", broken, {"name": "x"}, kind="template")
        assert refused["error"]["code"] == Code.UNREADABLE_STATE
        changed = await world.commands.ok("update", sound, {"name": "x"}, kind="template")
        assert changed["template"]["version"] == 2


async def test_every_process_knows_what_is_set_in_any_shard_before_it_leads(world: World) -> None:
    """Also what a register tells that its follower has not brought yet: a take-over asks for the newest."""
    async with world.leader(partition=1):
        template = world.task_in(1, "far")
        await world.commands.ok("create", template, SPEC, kind="template")
        other = await world.leader(partition=0).connect()
        await world.commands.ok("update", template, {"name": "newest"}, kind="template")
        await other.lead()
        known = other.objects.known["template"][template]
        assert known.version == 2
        await world.commands.ok("delete", template, {}, kind="template")
        await other.objects.reach()
        assert template not in other.objects.known["template"]


async def test_the_sweep_removes_an_old_tombstone_and_never_one_made_anew(world: World) -> None:
    old, anew = world.task_in(0, "old"), world.task_in(0, "anew")
    async with world.leader() as leader:
        for template in (old, anew):
            await world.commands.ok("create", template, SPEC, kind="template")
            await world.commands.ok("delete", template, {}, kind="template")
        sweep = Sweep(leader.bus, leader.shard, leader.clock, every_seconds=60, keep_seconds=-1)
        await sweep.sweep()
        assert await _register(world, old) is None
        # The tombstone is let go of in a turn, in which the command may come first: then it is asked again.
        made = await _accepted(world, anew)
        assert made["template"]["version"] == 1
        await sweep.sweep()
        assert await _register(world, anew) is not None


async def _accepted(world: World, template: str) -> dict[str, Any]:
    while True:
        outcome = await world.commands.send("create", template, SPEC, kind="template")
        if outcome["ok"]:
            return outcome
        assert outcome["error"]["code"] == Code.DELETED
