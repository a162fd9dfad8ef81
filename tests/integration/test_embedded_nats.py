"""The embedded nats-server: ready when it says so, and itself again after every kind of end."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import StreamConfig

from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.embedded import LOOPBACK, EmbeddedNats, EmbeddedServerError, PortTaken
from gnomon_core.runtime.embedded.batch_staging import TMPFS, BatchStaging
from gnomon_core.runtime.messages import Outgoing
from gnomon_core.runtime.settings import CommonSettings
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas.subjects import EVENTS_STREAM


async def _store(url: str, *, replicas: int) -> None:
    client = await nats.connect(url.split(","))
    stream = client.jetstream()
    await stream.add_stream(StreamConfig(name="KEPT", subjects=["kept"], num_replicas=replicas))
    await stream.publish("kept", b"x")
    await client.close()


async def _stored(url: str) -> int:
    client = await nats.connect(url.split(","))
    state = (await client.jetstream().stream_info("KEPT")).state
    await client.close()
    return state.messages


async def test_messages_and_address_survive_stop_kill_and_a_new_object(tmp_path: Path) -> None:
    """What was acknowledged is there after a clean stop, after SIGKILL, and for a later object."""
    first = EmbeddedNats(tmp_path)
    await first.start()
    url = first.url
    await _store(url, replicas=1)
    await first.restart()
    assert await _stored(url) == 1
    await first.kill()
    await first.start()
    assert (first.url, await _stored(url)) == (url, 1)
    await first.kill()
    second = EmbeddedNats(tmp_path)
    await second.start()
    assert await _stored(second.url) == 1
    await second.stop()
    await second.stop()
    assert not second.nodes[0].running


async def test_acknowledges_after_fsync_unless_fast(tmp_path: Path) -> None:
    """`sync_interval: always` is the default; `fast` goes back to the server's own interval."""
    for name, fast, wanted in (("sync", False, "always"), ("fast", True, '"2m"')):
        server = EmbeddedNats(tmp_path / name, fast=fast)
        await server.start()
        assert f"sync_interval: {wanted}\n" in (tmp_path / name / "n1" / "server.conf").read_text()
        await server.stop()


async def test_listens_on_the_loopback_address_only(nats_server: EmbeddedNats) -> None:
    """Client and monitoring port answer on 127.0.0.1 and on no other address of the machine."""
    for address in (nats_server.nodes[0].url, nats_server.nodes[0].monitor_url):
        port = int(address.rpartition(":")[2])
        with socket.create_connection((LOOPBACK, port), timeout=5):
            pass
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
            pass


async def test_a_wished_port_moves_and_an_asked_one_is_refused(
    tmp_path: Path, nats_server: EmbeddedNats
) -> None:
    """A default that is taken moves to a free port; a port asked for and taken is an error naming it."""
    taken = int(nats_server.url.rpartition(":")[2])
    moved = EmbeddedNats(tmp_path / "moved", default_port=taken)
    await moved.start()
    assert moved.url != nats_server.url
    await moved.stop()
    with pytest.raises(PortTaken, match=str(taken)):
        await EmbeddedNats(tmp_path / "asked", port=taken).start()


async def test_two_servers_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start on a folder is refused by name while the first runs, and works once it is gone."""
    monkeypatch.setattr("gnomon_core.runtime.embedded.process.LOCK_WAIT_SECONDS", 0.2)
    first, second = EmbeddedNats(tmp_path), EmbeddedNats(tmp_path)
    await first.start()
    with pytest.raises(EmbeddedServerError, match="still runs on"):
        await second.start()
    await first.kill()
    await second.start()
    await second.stop()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The end of the server's own log is in the error, and nothing is left running."""
    server = EmbeddedNats(tmp_path, max_payload=1 << 30)
    with pytest.raises(EmbeddedServerError, match=r"(?s)ended while starting.*max_payload"):
        await server.start()
    assert server.nodes == ()


async def test_end_of_a_node_is_told(tmp_path: Path) -> None:
    """Whoever supervises the server learns of its end, whatever the cause."""
    server = EmbeddedNats(tmp_path)
    await server.start()
    waiting = asyncio.create_task(server.nodes[0].wait_ended(), name="wait")
    await server.kill()
    assert await waiting == -9


@pytest.mark.cluster
async def test_cluster_works_with_one_node_killed_or_paused(nats_cluster: EmbeddedNats) -> None:
    """Two of three nodes keep acknowledging; the third comes back healthy, which means caught up."""
    await _store(nats_cluster.url, replicas=3)
    killed, paused = nats_cluster.nodes[0], nats_cluster.nodes[1]
    await killed.kill()
    client = await nats.connect([node.url for node in nats_cluster.nodes[1:]])
    await _publish_until_stored(client, b"y")
    await killed.start()
    paused.pause()
    rest = await nats.connect([killed.url, nats_cluster.nodes[2].url])
    await _publish_until_stored(rest, b"z")
    paused.resume()
    await paused.ready()
    assert await _stored(nats_cluster.url) >= 3
    await client.close()
    await rest.close()


async def _publish_until_stored(client: Client, data: bytes) -> None:
    """A new leader may have to be found first: publish until one acknowledges."""
    async with asyncio.timeout(30):
        while True:
            try:
                await client.jetstream().publish("kept", data, timeout=1)
            except (
                nats.errors.TimeoutError,
                nats.errors.NoRespondersError,
                nats.js.errors.NoStreamResponseError,
            ):
                continue
            return


async def test_the_folder_may_have_any_name(tmp_path: Path) -> None:
    """Spaces, quotes and braces in the path do not disturb the server's configuration."""
    server = EmbeddedNats(tmp_path / 'a "strange" {$name} é')
    await server.start()
    await _store(server.url, replicas=1)
    assert (tmp_path / 'a "strange" {$name} é' / "n1" / "store").is_dir()
    await server.stop()


_IN_MEMORY = pytest.mark.skipif(not TMPFS.is_dir(), reason="this system has no tmpfs where Linux has it")


async def _store_batch(url: str, batches: Path | None = None) -> int:
    """Store a batch of three in a stream that is made where there is none; how many messages it has then.

    `batches`: wait until this is a link first.
    """
    bus = await connect(CommonSettings(nats_url=url), name="test")
    try:
        await ensure_topology(bus, TopologySettings(partitions=1))
        async with asyncio.timeout(10):
            while batches is not None and not batches.is_symlink():  # noqa: ASYNC110 - a thread does it, and tells nobody
                await asyncio.sleep(0.01)
        subject = f"task.x.0.{bus.generation}._"
        await bus.publish_batch([Outgoing(subject, b"x")] * 3)
        return (await bus.stream_info(EVENTS_STREAM)).messages
    finally:
        await bus.close()


@_IN_MEMORY
async def test_a_fast_server_collects_its_batches_in_memory(tmp_path: Path) -> None:
    """Also after a restart and after SIGKILL; a clean end leaves nothing behind in memory."""
    server = EmbeddedNats(tmp_path, fast=True)
    await server.start()
    folder = tmp_path / "n1" / "store" / "jetstream" / "$G" / "streams" / EVENTS_STREAM / "batches"
    assert await _store_batch(server.url, folder) == 3
    memory = folder.readlink()
    assert memory.is_relative_to(TMPFS)
    await server.restart()
    assert await _store_batch(server.url, folder) == 6
    assert folder.readlink() == memory
    await server.kill()
    assert memory.is_dir(), "the next start looks there for a batch that was being stored"
    await server.start()
    assert await _store_batch(server.url, folder) == 9
    assert folder.readlink() == memory
    await server.stop()
    assert not memory.exists()


@_IN_MEMORY
async def test_a_server_whose_batches_in_memory_are_gone_starts(tmp_path: Path) -> None:
    """As after a power cut: the link leads nowhere."""
    server = EmbeddedNats(tmp_path, fast=True)
    await server.start()
    folder = tmp_path / "n1" / "store" / "jetstream" / "$G" / "streams" / EVENTS_STREAM / "batches"
    assert await _store_batch(server.url, folder) == 3
    await server.kill()
    shutil.rmtree(folder.readlink().parent)
    await server.start()
    assert await _store_batch(server.url, folder) == 6
    await server.stop()


async def test_a_server_that_syncs_collects_its_batches_on_disk(tmp_path: Path) -> None:
    """What is in memory would be gone after a power cut, and with it the rest of a batch."""
    server = EmbeddedNats(tmp_path)
    await server.start()
    assert await _store_batch(server.url) == 3
    folder = tmp_path / "n1" / "store" / "jetstream" / "$G" / "streams" / EVENTS_STREAM / "batches"
    assert folder.is_dir()
    assert not folder.is_symlink()
    await server.stop()


async def test_without_room_or_a_folder_of_its_own_batches_stay_on_disk(tmp_path: Path) -> None:
    """No tmpfs, or somebody else's folder under that name: nothing is linked."""
    stream = tmp_path / "store" / "jetstream" / "$G" / "streams" / "S"
    stream.mkdir(parents=True)
    (stream / "meta.sum").touch()
    link = stream / "batches"

    async def linked(staging: BatchStaging) -> bool:
        staging.begin()
        await asyncio.sleep(0.2)  # what must not happen sends no signal
        staging.end()
        return link.is_symlink()

    assert not await linked(BatchStaging(tmp_path / "store", ("S",), tmpfs=tmp_path / "none"))
    good = BatchStaging(tmp_path / "store", ("S",), tmpfs=tmp_path)
    assert await linked(good)
    memory = link.readlink().parent
    good.clear()
    assert not link.is_symlink()
    memory.symlink_to(tmp_path)
    assert not await linked(good)
