"""23: a task id that is a wildcard is stored without a partition, where no shard would look."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.harness.commands import fresh_id
from tests.harness.world import World


@pytest.mark.parametrize("task_id", ["*", ">", "a" * 65, "_hidden", "analytics", "bulk", "ä"])
async def test_a_command_for_an_impossible_id_is_refused_and_recorded(world: World, task_id: str) -> None:
    """Whatever was wrong with it, it is answered by the problem and by one `task.rejected`, and stores nothing else."""
    await world.fake_executor()
    async with world.leader(0), world.leader(1):
        outcome = await world.commands.send("create", task_id, {"name": "n", "task_type": "echo"})
        assert outcome["ok"] is False
        assert outcome["error"]["code"] == "invalid_id"
        assert outcome["error"]["status"] == 422
        assert task_id in outcome["error"]["detail"]
        rejected = await world.events.one("rejected")
        assert rejected.run == "_"
        assert [seen.name for seen in world.events.of()] == ["rejected"]


async def test_a_wildcard_id_is_refused_in_partition_0_as_invalid(world: World) -> None:
    """The stream's transform leaves it alone, so the consumer on the short form takes it."""
    async with world.leader(0):
        _, ack = await world.commands.post("create", "*", {"name": "n", "task_type": "echo"})
        stored = await world.bus.get("TASK_COMMANDS", ack.seq)
        assert stored is None or stored.subject == "gnomon.cmd.task.create.*"
        rejected = await world.events.one("rejected", "_invalid")
        assert rejected.subject.partition == 0


HOSTILE = [
    b"task.create.\xff\xfe",
    b"task.\xff.t",
    b"\xff.create.t",
    b"task.create.\x0c",
    b"task.create.\x00",
]
"""Commands' subjects that are no text, or whose text splits where nothing is to be split."""


async def test_a_command_of_any_bytes_is_refused_and_the_next_one_is_decided(world: World) -> None:
    """The broker keeps it, and delivers it to leader after leader until it is decided."""
    await world.fake_executor()
    async with world.leader(0), world.leader(1):
        for number, subject in enumerate(HOSTILE):
            await _publish_raw(
                world.broker.url, b"gnomon.cmd." + subject, b"NATS/1.0\r\nNats-Msg-Id: h%d\r\n\r\n" % number
            )
        for _ in range(8):
            await world.commands.create(fresh_id("t"))
        rejected = await world.events.some(len(HOSTILE), "rejected")
        assert {seen.event.command_id for seen in rejected} == {f"h{n}" for n in range(len(HOSTILE))}


async def _publish_raw(url: str, subject: bytes, head: bytes) -> None:
    """Publish by hand: client libraries write text only."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
    writer.write(b"HPUB %b %d %d\r\n%b\r\nPING\r\n" % (subject, len(head), len(head), head))
    while not (await reader.readline()).startswith(b"PONG"):
        pass
    writer.close()
    await writer.wait_closed()
