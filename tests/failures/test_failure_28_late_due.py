"""28: a due whose publish timed out is delivered from the client's buffer after its task was paused."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.bus import InProcess, WrongSequence
from tests.harness.fixtures import BOTH
from tests.harness.stage import Stage
from tests.harness.stopping import Do
from tests.harness.waiting import until_async
from tests.harness.world import World

pytestmark = BOTH

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


async def test_a_due_that_comes_out_of_a_buffer_after_the_pause_is_refused(world: World) -> None:
    """The fence was rolled up before the shard went on, so the late one is too late, and its slot is due once."""
    await world.fake_executor()
    stage = Stage(world)
    leader = await stage.lead()
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow")
    fence, _ = await world.due_fence()
    late = leader.bus.trap("task.due.*", do="late")
    stage.advance(1)
    await late.reached.wait()
    paused = await stage.commands.ok("pause", stage.task)
    assert paused["task"]["status"] == "paused"
    await world.events.one("skipped", stage.task)
    late.release()
    with pytest.raises(WrongSequence):
        await late.late[0]

    async def gone() -> bool:
        return await world.dues(stage.task) == []

    # The due that the leader published instead, and took back when the task was paused, is deleted beside the turns.
    await until_async(gone)
    assert (await world.due_fence())[0].seq > fence.seq
    audit = stage.audit()
    assert (audit.expected, audit.outcomes) == (1, {"skipped(paused)": 1}), audit
    assert not leader.shard.deposed.is_set()


@pytest.mark.parametrize("do", ["lose", "drop", "late", "in_process", "not_committed"])
@pytest.mark.parametrize("slots", [1, 5], ids=["alone", "a batch"])
async def test_each_slot_is_due_once_whatever_became_of_the_publish(world: World, do: Do, slots: int) -> None:
    """Stored and the answer lost, lost on the way, delayed, or refused: settled before anything else happens."""
    (await world.fake_executor()).run()
    stage = Stage(world)
    leader = await stage.lead()
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow")
    trap = leader.bus.trap("task.due.*", do=do, times=2)
    stage.advance(slots)
    audit = await stage.settle()
    trap.release()
    for late in trap.late:
        # On three nodes also while another write on the fence has not been applied yet: refused all the same.
        with pytest.raises((WrongSequence, InProcess)):
            await late
    stage.advance(1)
    audit = await stage.settle()
    assert trap.reached.is_set()
    assert audit.executed() == audit.expected >= slots, audit
    assert leader.shard.book.epoch == 1
