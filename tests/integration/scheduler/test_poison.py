"""Commands that no caller in its right mind sends: each is answered or set aside, and the shard goes on."""

from __future__ import annotations

import pytest

from tests.harness.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

_DEEP = b'{"trigger_data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
_LONG = "x" * 600_000
_OF_A_TEMPLATE = b'{"name":"n","task_type":"echo","template_id":"t"}'
_HEADER = "x" * 60_000
"""The server takes no more than 64 KiB of headers."""


@pytest.mark.parametrize(
    ("verb", "headers", "data", "command_id", "reply_to"),
    [
        pytest.param("run", {}, _DEEP, None, None, id="nested too deep"),
        pytest.param("pause", {}, b'{"%s":1}' % _LONG.encode(), None, None, id="a field name of 600 KB"),
        pytest.param("pause", {"Gnomon-If-Match": _HEADER}, b"", None, None, id="a version of 60 KB"),
        pytest.param("pause", {"Gnomon-User": _HEADER}, b"", None, None, id="a user of 60 KB"),
        pytest.param("pause", {}, b"", _HEADER, "", id="a command id of 60 KB"),
        pytest.param("pause", {"traceparent": _HEADER}, b"", None, None, id="a trace of 60 KB"),
        pytest.param(
            "create", {"Gnomon-User": _HEADER}, _OF_A_TEMPLATE, None, None, id="nobody's, of a template"
        ),
        pytest.param("pause", {}, b"", None, "_INBOX.a b", id="a reply subject with a blank"),
        pytest.param("pause", {}, b"", None, "_INBOX.", id="a reply subject that ends early"),
        pytest.param("pause", {}, b"", None, "_INBOX." + _HEADER, id="a reply subject of 60 KB"),
    ],
)
async def test_the_shard_outlives_it(
    world: World,
    verb: str,
    headers: dict[str, str],
    data: bytes,
    command_id: str | None,
    reply_to: str | None,
) -> None:
    task_id = world.task_in(0)
    await world.fake_executor()
    async with world.leader() as leader:
        await world.commands.create(task_id)
        await world.commands.post(
            verb, task_id, data=data, headers=headers, command_id=command_id, reply_to=reply_to
        )
        outcome = await world.commands.ok("update", task_id, {"description": "after it"})
        assert outcome["task"]["description"] == "after it"
        assert leader.shard.running
        assert leader.shard.failure is None
