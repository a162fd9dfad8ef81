"""4: a deterministic message id makes the second claimant's refusal look like success, on three nodes only."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.bus import WrongSequence
from gnomon_schemas.events import Started
from tests.harness.fixtures import BOTH
from tests.harness.stopping import Trap
from tests.harness.world import World

pytestmark = BOTH


async def test_a_claim_that_comes_second_is_refused_and_nothing_runs_twice(world: World) -> None:
    """An executor stops right before it publishes its claim, and publishes it when another has claimed and finished:
    it is refused, says so, and the execution has one claim and one result, each under an id of its own."""
    await world.scheduler()
    late = await world.executor(traps=[Trap(subject="task.started.*", on="publish", do="pause")])
    await world.commands.create("t")
    run = (await world.commands.ok("run", "t", {}))["execution"]["run"]
    await late.logged("test.trap")
    other = await world.executor()
    executed = await world.events.one("executed", "t", run=run)
    late.resume()
    await late.logged("claim.settled", execution_id=f"t.{run}", row="over")
    audit = await world.settled()
    assert (audit.runs, audit.executed()) == (1, 1), audit
    assert world.events.chain("t", run) == ["queued", "started", "executed"]
    (started,) = world.events.of("started", "t", run=run)
    assert isinstance(started.event, Started)
    members = {member.pid: member.id for member in await world.members("executor")}
    assert started.event.executor == members[other.pid]
    stored = [item async for item in world.bus.scan("TASKS", f"task.*.*.t.{run}")]
    ids = [item.headers["Nats-Msg-Id"] for item in stored if "Nats-Msg-Id" in item.headers]
    assert len(ids) == len(set(ids))
    assert executed.run == run


async def test_a_claim_whose_answer_is_lost_is_not_taken_for_anothers(world: World) -> None:
    """The claim and the result are stored and their answers lost: the executor finds its own, and runs once."""
    await world.scheduler()
    await world.executor(
        traps=[
            Trap(subject="task.started.*", on="publish", do="lose", when="after"),
            Trap(subject="task.executed.*", on="publish", do="lose", when="after"),
        ]
    )
    await world.commands.create("t")
    run = (await world.commands.ok("run", "t", {}))["execution"]["run"]
    await world.events.one("executed", "t", run=run)
    audit = await world.settled()
    assert (audit.runs, audit.executed()) == (1, 1), audit
    assert world.events.chain("t", run) == ["queued", "started", "executed"]


async def test_the_trap_with_an_id_that_two_claimants_share_the_loser_is_told_of_success(
    world: World,
) -> None:
    """On three nodes the broker looks at the id before the expectation; with ids of their own the second is refused."""
    stream = {"name": "SCRATCH", "subjects": ["scratch.>"], "num_replicas": world.replicas}
    await world.bus.api("STREAM.CREATE.SCRATCH", stream)

    async def claim(run: str, msg_id: str) -> bool:
        ack = await world.bus.publish(
            f"scratch.started.{run}",
            b"",
            {"Nats-Msg-Id": msg_id},
            expected=0,
            expected_subject=f"scratch.*.{run}",
        )
        return ack.duplicate

    assert not await claim("r-1", "shared")
    if world.replicas > 1:
        assert await claim("r-1", "shared"), "an acknowledgement: who does not look at it runs it twice"
    assert not await claim("r-2", "instance-a:1")
    with pytest.raises(WrongSequence):
        await claim("r-2", "instance-b:1")
