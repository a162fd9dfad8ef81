"""Processes announce themselves, see each other come and go, and learn whether their clock is right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from gnomon_core.runtime import membership as membership_module
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.clock import Clock, ManualClock, SystemClock
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.kv import bucket_stream, key_subject, kv_put
from gnomon_core.runtime.membership import Membership, MemberWatch, this_process
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas.members import Member
from gnomon_schemas.subjects import MEMBERS_BUCKET
from tests.integration.runtime.connecting import fresh, open_bus, until


@pytest.fixture
async def members(bus: NatsBus, replicas: int) -> AsyncIterator[MemberWatch]:
    """A watch over an empty bucket."""
    await ensure_topology(bus, TopologySettings(replicas=replicas))
    await bus.purge(bucket_stream(MEMBERS_BUCKET))
    watch = MemberWatch(bus)
    await watch.start()
    yield watch
    await watch.stop()


def executor(member_id: str, *types: str, pools: tuple[str, ...] = ("default",)) -> Member:
    return this_process("executor", member_id, "1.0", pools=pools, task_types=types, capacity=10)


async def test_a_member_is_seen_changes_and_leaves(bus: NatsBus, members: MemberWatch) -> None:
    """At once each time, though it is renewed only every two seconds."""
    changes: list[int] = []
    members.listen(lambda: changes.append(len(members.members)))
    membership = Membership(bus, executor("e1", "echo"))
    await membership.start()
    await until(lambda: "e1" in members.members, within=1)
    assert members.members["e1"] == membership.member
    begin = time.monotonic()
    membership.update(running=7)
    await until(lambda: members.members["e1"].running == 7, within=1)
    membership.update(draining=True)
    await until(lambda: members.members["e1"].draining, within=1)
    await membership.stop()
    await until(lambda: not members.members, within=1)
    assert time.monotonic() - begin < 1.5
    assert changes[0] == 1
    assert changes[-1] == 0


async def test_renewals_are_no_changes(bus: NatsBus, members: MemberWatch) -> None:
    changes: list[int] = []
    members.listen(lambda: changes.append(1))
    membership = Membership(bus, executor("e2"))
    await membership.start()
    for _ in range(5):
        await membership.announce()
    before = members.renewed_ms("e2")
    await membership.announce()
    await until(lambda: members.renewed_ms("e2") > before, within=2)
    assert len(changes) == 1
    await membership.stop()


async def test_which_types_are_live_in_a_pool(bus: NatsBus, members: MemberWatch) -> None:
    """Of executors that take work; schedulers and other pools do not count."""
    one = Membership(bus, executor("e3", "echo", "sleep"))
    two = Membership(bus, executor("e4", "sleep", "mail", pools=("default", "mail")))
    other = Membership(bus, this_process("scheduler", "s1", "1.0", pools=("default",), task_types=("no",)))
    for membership in (one, two, other):
        await membership.start()
    await until(lambda: len(members.members) == 3)
    assert members.types_live("default") == {"echo", "sleep", "mail"}
    assert members.types_live("mail") == {"sleep", "mail"}
    assert members.types_live("none") == frozenset()
    assert [member.id for member in members.of_kind("executor")] == ["e3", "e4"]
    one.update(draining=True)
    await until(lambda: members.types_live("default") == {"sleep", "mail"})
    for membership in (one, two, other):
        await membership.stop()


async def test_a_process_that_dies_is_gone_when_its_entry_expires(bus: NatsBus, members: MemberWatch) -> None:
    await kv_put(bus, MEMBERS_BUCKET, "executor.dead", msgspec.json.encode(executor("dead")), ttl=1)
    await until(lambda: "dead" in members.members)
    await until(lambda: "dead" not in members.members, within=5)


async def test_a_ghost_whose_end_nobody_told_is_dropped(
    bus: NatsBus, members: MemberWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when this process was cut off while the entry, and then its marker, went away."""
    monkeypatch.setattr(membership_module, "_GHOST_AFTER", 1.5)
    member = executor("ghost")
    await kv_put(bus, MEMBERS_BUCKET, "executor.ghost", msgspec.json.encode(member), ttl=60)
    await until(lambda: "ghost" in members.members)
    await bus.purge(bucket_stream(MEMBERS_BUCKET), filter=key_subject(MEMBERS_BUCKET, "executor.ghost"))
    await until(lambda: "ghost" not in members.members, within=10)


async def test_an_entry_that_cannot_be_read_is_passed_over(bus: NatsBus, members: MemberWatch) -> None:
    await kv_put(bus, MEMBERS_BUCKET, "executor.odd", b'{"id": 5}', ttl=30)
    membership = Membership(bus, executor("e5"))
    await membership.start()
    await until(lambda: "e5" in members.members)
    assert members.failure is None
    await membership.stop()


async def test_a_watch_of_one_kind_sees_only_that(bus: NatsBus, members: MemberWatch) -> None:
    watch = MemberWatch(bus, ("scheduler",))
    await watch.start()
    one = Membership(bus, executor("e6"))
    two = Membership(bus, this_process("scheduler", "s2", "1.0"))
    await one.start()
    await two.start()
    await until(lambda: set(members.members) == {"e6", "s2"})
    await until(lambda: set(watch.members) == {"s2"})
    for service in (one, two, watch):
        await service.stop()


class Shifted:
    """A clock that is a number of seconds ahead."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._real = SystemClock()

    def now_ms(self) -> int:
        return self._real.now_ms() + round(self.seconds * 1000)

    def monotonic(self) -> float:
        return self._real.monotonic()


@pytest.mark.parametrize(("seconds", "off"), [(0, False), (1.5, False), (600, True), (-3, True)])
async def test_a_wrong_clock_is_known_when_the_start_returns(
    bus: NatsBus, members: MemberWatch, seconds: float, off: bool
) -> None:
    """Before anything can be led or claimed by it."""
    membership = Membership(bus, executor(fresh("c")), clock=Shifted(seconds))
    await membership.start()
    assert membership.guard.off is off
    await membership.stop()


async def test_a_clock_that_is_set_right_is_believed_again(bus: NatsBus, members: MemberWatch) -> None:
    clock = Shifted(600)
    membership = Membership(bus, executor(fresh("c")), clock=clock)
    await membership.start()
    was_off = membership.guard.off
    clock.seconds = 0
    await membership.announce()
    assert (was_off, membership.guard.off) == (True, False)
    await membership.stop()


def test_what_a_process_says_of_itself() -> None:
    clock: Clock = ManualClock(1_795_301_717_695)
    member = this_process("api", "a1", "2.0", clock)
    assert (member.kind, member.id, member.version) == ("api", "a1", "2.0")
    assert member.started_at == "2026-11-21T22:55:17.695Z"
    assert member.pid > 0


async def test_members_outlive_a_restart_of_the_broker(nats_server: EmbeddedNats) -> None:
    async with open_bus(nats_server.url) as bus, open_bus(nats_server.url) as other:
        await ensure_topology(bus, TopologySettings())
        watch, membership = MemberWatch(other), Membership(bus, executor("e7"))
        await membership.start()
        await watch.start()
        await nats_server.kill()
        await nats_server.start()
        await bus.wait_connected()
        await other.wait_connected()
        membership.update(running=3)
        await until(lambda: watch.members["e7"].running == 3)
        assert membership.failure is None
        assert watch.failure is None
        await asyncio.gather(membership.stop(), watch.stop())
