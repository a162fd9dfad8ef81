"""The streams are as they should be, whoever starts first, or the process is told by name what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus, Outgoing
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.topology import (
    TopologyError,
    TopologySettings,
    bucket_config,
    ensure_topology,
    stream_configs,
)
from gnomon_schemas.subjects import (
    COMMANDS_STREAM,
    DUE_STREAM,
    EVENTS_STREAM,
    LEASES_BUCKET,
    LOGS_STREAM,
    STREAMS,
    partition_of,
)
from tests.integration.runtime.connecting import answered, open_bus


@pytest.fixture
async def empty(bus: NatsBus) -> AsyncIterator[NatsBus]:
    """A broker without streams; what the test makes is removed afterwards."""
    yield bus
    names = (await bus.api("STREAM.NAMES"))["streams"] or []
    for name in names:
        await answered(lambda name=name: bus.api(f"STREAM.DELETE.{name}"))  # type: ignore[misc]


def wanted(replicas: int, **changes: Any) -> TopologySettings:
    return TopologySettings(replicas=replicas, **changes)


async def test_processes_that_start_together_agree(
    empty: NatsBus, broker: EmbeddedNats, replicas: int
) -> None:
    """Four at once on connections of their own; then another, which finds everything as it should be."""
    async with open_bus(broker.url) as second, open_bus(broker.url) as third:
        settings = wanted(replicas)
        starters = [empty, second, third, second]
        found = await asyncio.gather(*[ensure_topology(bus, settings) for bus in starters])
    assert all(topology == found[0] for topology in found)
    assert len(found[0].created) == 8
    assert await ensure_topology(empty, settings) == found[0]
    for config in [*stream_configs(settings), bucket_config(LEASES_BUCKET, settings, expiring=True)]:
        info = await empty.stream_info(config["name"])
        assert info.created == found[0].created[config["name"]]
        assert info.replicas == replicas
        assert info.metadata["gnomon.partitions"] == "8"
        assert info.messages == 0, "asking whether the stream listens must store nothing"


async def test_another_number_of_partitions_is_refused_naming_both(empty: NatsBus, replicas: int) -> None:
    """Also when only one of the streams is there, and nothing is made by the one that does not fit."""
    await answered(lambda: empty.api(f"STREAM.CREATE.{EVENTS_STREAM}", stream_configs(wanted(replicas))[1]))
    with pytest.raises(TopologyError, match=r"8 partitions.*GNOMON_PARTITIONS=12"):
        await ensure_topology(empty, wanted(replicas, partitions=12))
    assert (await empty.api("STREAM.NAMES"))["streams"] == [EVENTS_STREAM]


@pytest.mark.parametrize("partitions", [0, 41])
async def test_a_number_of_partitions_that_cannot_be(bus: NatsBus, partitions: int) -> None:
    with pytest.raises(TopologyError, match="1 to 40"):
        await ensure_topology(bus, TopologySettings(partitions=partitions))


async def test_racing_with_other_partitions_one_of_the_two_stops(
    empty: NatsBus, broker: EmbeddedNats, replicas: int
) -> None:
    """Whichever comes first decides; never do both go on."""
    async with open_bus(broker.url) as second:
        outcomes = await asyncio.gather(
            ensure_topology(empty, wanted(replicas, partitions=8)),
            ensure_topology(second, wanted(replicas, partitions=16)),
            return_exceptions=True,
        )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Topology", "TopologyError"]


async def test_what_must_not_change_is_named_and_what_may_is_updated(empty: NatsBus, replicas: int) -> None:
    settings = wanted(replicas)
    commands, events, dues, _ = stream_configs(settings)
    for config in (
        commands,
        events | {"description": "old", "republish": None},
        dues | {"allow_atomic": False},
    ):
        await answered(lambda config=config: empty.api(f"STREAM.CREATE.{config['name']}", config))  # type: ignore[misc]
    with pytest.raises(TopologyError, match=rf"{DUE_STREAM}: allow_atomic is None and should be True"):
        await ensure_topology(empty, settings)
    await answered(lambda: empty.api(f"STREAM.UPDATE.{DUE_STREAM}", dues))
    await ensure_topology(empty, settings)
    info = await empty.stream_info(EVENTS_STREAM)
    assert info.config["description"] == events["description"]
    assert info.config["republish"]["src"] == events["republish"]["src"]


async def test_subjects_of_a_newer_version_are_left_and_missing_ones_added(
    empty: NatsBus, replicas: int
) -> None:
    """An old process that starts beside a new one takes nothing away."""
    _, events, _, _ = stream_configs(wanted(replicas))
    subjects = [events["subjects"][0], "gnomon.write.later.*"]
    await answered(lambda: empty.api(f"STREAM.CREATE.{EVENTS_STREAM}", events | {"subjects": subjects}))
    await ensure_topology(empty, wanted(replicas))
    info = await empty.stream_info(EVENTS_STREAM)
    assert info.config["subjects"] == [*subjects, *events["subjects"][1:]]


async def test_a_stream_of_somebody_else_is_left_alone(empty: NatsBus) -> None:
    await answered(lambda: empty.api("STREAM.CREATE.TASKS", {"name": "TASKS", "subjects": ["theirs.>"]}))
    with pytest.raises(TopologyError, match="TASKS is not Gnomon's"):
        await ensure_topology(empty, TopologySettings())


async def test_more_replicas_than_nodes_is_told_in_time(empty: NatsBus, replicas: int) -> None:
    """On one node at once, by the server's own words; in a cluster as soon as patience ends."""
    settings = TopologySettings(replicas=5 if replicas == 3 else 3, patience_seconds=1.0)
    with pytest.raises(TopologyError, match="replica"):
        await ensure_topology(empty, settings)


class OldServerBus(NatsBus):
    """A connection to a server that says it is older than it is."""

    @property
    @override
    def server_version(self) -> tuple[int, int, int]:
        return (2, 11, 4)


async def test_an_old_server_is_refused_by_name(broker: EmbeddedNats) -> None:
    async with open_bus(broker.url, make_bus=OldServerBus) as bus:
        with pytest.raises(TopologyError, match=r"nats-server 2\.11\.4 is too old.*2\.12"):
            await ensure_topology(bus, TopologySettings())


async def test_the_streams_do_what_they_are_for(empty: NatsBus, replicas: int) -> None:
    """The server's partition is Python's; the door keeps what was refused from being heard; keys expire."""
    await ensure_topology(empty, wanted(replicas))
    for number in range(20):
        ack = await empty.publish(f"gnomon.cmd.task.create.T-{number}", b"{}", {"Nats-Msg-Id": f"c{number}"})
        stored = await empty.get(COMMANDS_STREAM, ack.seq)
        assert stored is not None
        assert stored.subject == f"gnomon.cmd.task.create.{partition_of(f'T-{number}', 8)}.T-{number}"
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()

    async def hear(message: Any) -> None:
        await heard.put((message.subject, message.data))

    await empty.subscribe("task.>", hear)
    register = Outgoing("state.task.3.T", b"{}", rollup=True, expected=0)
    batch = [register, Outgoing("task.created.3.T._", b"stored")]
    committed = await empty.publish_batch(batch)
    assert committed.first == 1
    with pytest.raises(Exception, match="wrong last sequence"):
        await empty.publish_batch([register, Outgoing("task.updated.3.T._", b"refused")])
    await empty.store("due.fence._._.3._", b"fence", {"Nats-Rollup": "sub"}, expected=0)
    await empty.store("task.due.default.high.3.T", b"due")
    assert [await heard.get(), await heard.get()] == [("task.created", b"stored"), ("task.due", b"due")]
    assert [row.seq async for row in empty.scan(DUE_STREAM, "*.*.*.*.3.*", at_least_seq=2)] == [1, 2]
    assert set(STREAMS) == {COMMANDS_STREAM, EVENTS_STREAM, DUE_STREAM, LOGS_STREAM}
