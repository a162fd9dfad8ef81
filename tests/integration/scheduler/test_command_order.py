"""Commands are decided in stream order and none is passed over, however their deliveries fare."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from gnomon_schemas.subjects import COMMANDS_STREAM
from tests.harness.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


class _Line:
    """A line to the broker that can swallow what the broker says and then break."""

    def __init__(self, url: str) -> None:
        self._broker = urlsplit(url)
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._swallow = False
        self._server: asyncio.Server
        self.url = ""

    async def __aenter__(self) -> _Line:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def swallow(self) -> None:
        """From here on nothing that the broker says arrives."""
        self._swallow = True

    def cut(self) -> None:
        """Break the connection; the next one works."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._swallow = False

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_broker = await asyncio.open_connection(self._broker.hostname, self._broker.port)
        self._writers += [writer, to_broker[1]]
        self._pumps += [
            asyncio.create_task(self._pump(reader, to_broker[1], from_broker=False)),
            asyncio.create_task(self._pump(to_broker[0], writer, from_broker=True)),
        ]

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_broker: bool
    ) -> None:
        while data := await reader.read(65536):
            if not (from_broker and self._swallow):
                writer.write(data)
        writer.close()


async def test_a_delivery_that_was_lost_with_its_connection_is_decided_before_later_commands(
    world: World,
) -> None:
    task_id = world.task_in(0)
    await world.fake_executor()
    async with _Line(world.broker.url) as line:
        leader = world.leader()
        leader._url = line.url
        async with leader:
            await world.commands.create(task_id)
            line.swallow()
            first, _ = await world.commands.post("update", task_id, {"description": "first"})
            await _delivered(world)
            line.cut()
            second, _ = await world.commands.post("update", task_id, {"tags": ["second"]})
            answers = [await world.commands.outcome(command_id, 20) for command_id in (first, second)]
            assert [answer["ok"] for answer in answers] == [True, True], answers
            updated = await world.events.some(2, "updated", task_id)
            assert [event.event.command_id for event in updated] == [first, second]


async def _delivered(world: World) -> None:
    """Wait until the broker has handed out a command that is not acknowledged."""
    while True:
        answer = await world.bus.api(f"CONSUMER.LIST.{COMMANDS_STREAM}", {"offset": 0})
        if any(consumer["num_ack_pending"] for consumer in answer["consumers"]):
            return
        await asyncio.sleep(0.02)


async def test_copies_of_many_commands_in_one_turn_are_decided_once(world: World) -> None:
    """More commands for one task than its ring remembers, delivered a second time before the first are stored."""
    task_id = world.task_in(0)
    async with world.leader() as leader:
        await world.fake_executor()
        await world.commands.create(task_id, overlap="allow")
        hold = leader.bus.trap("state.shard.0", "hold", on="batch")
        await world.commands.post("update", task_id, {"description": "holds the shard"})
        await hold.reached.wait()
        ids = [(await world.commands.post("run", task_id, {}))[0] for _ in range(40)]
        queue = leader.shard._commands.commands
        async with asyncio.timeout(10):
            while len(queue) < len(ids):
                leader.shard._wake.clear()
                await leader.shard._wake.wait()
        queue.extend(list(queue))
        hold.release()
        for command_id in ids:
            assert (await world.commands.outcome(command_id))["ok"]
        await world.commands.ok("update", task_id, {"description": "after all"})
        queued = [event for event in world.events.all if event.name == "queued"]
        assert len(queued) == len(ids)
