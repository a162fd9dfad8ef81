"""BR-EXE: how a task runs."""

from __future__ import annotations

import pytest

from gnomon_schemas.problems import Refused
from tests.harness.deciding import Deciding
from tests.harness.world import World
from tests.rules.conftest import EVERY_SECOND, create, problem_of


def run_now(shard: Deciding, command_id: str = "c-run") -> str:
    """Run the task on demand: the run."""
    shard.command("run", command_id=command_id)
    return f"r-{command_id}"


def test_br_exe_001_what_is_neither_cancelled_nor_deleted_runs_on_demand(shard: Deciding) -> None:
    """Also while it is paused, and when it has ended otherwise."""
    create(shard)
    for verb in ("pause", "complete"):
        shard.command(verb)
        assert run_now(shard, f"c-{verb}") in shard.due


@pytest.mark.parametrize(("verb", "code"), [("cancel", "invalid_state"), ("delete", "not_found")])
def test_br_exe_002_a_cancelled_or_deleted_task_does_not_run(shard: Deciding, verb: str, code: str) -> None:
    create(shard, schedule=EVERY_SECOND)
    shard.command(verb)
    with pytest.raises(Refused) as refusal:
        run_now(shard)
    assert problem_of(refusal)[0] == code
    shard.pass_time(3)
    assert not shard.due


def test_br_exe_003_a_run_on_demand_is_recorded_before_it_is_handed_out(shard: Deciding) -> None:
    """Also one that waits for another, which is handed out later. That the start of any execution is recorded before
    its handler is called is tested on an executor."""
    create(shard, overlap="queue")
    for command_id in ("c-one", "c-two"):
        run = run_now(shard, command_id)
        assert [seen.name for seen in shard.chain(run)] == ["queued"]
    assert list(shard.due) == ["r-c-one"]


def test_br_exe_004_what_was_consumed_is_counted_once(shard: Deciding) -> None:
    """What an execution costs is said by its executor, and tested there; the user has used that, however often the
    shard is told."""
    create(shard, credits_per_run=2.5)
    for command_id, status, used in (("c-a", "completed", 0), ("c-b", "failed", 0), ("c-c", "failed", 1.5)):
        run = run_now(shard, command_id)
        shard.claim(run)
        shard.end(run, status, credits_used=used)
    assert shard.used_micros == 4_000_000
    for index, seen in enumerate(shard.log):
        if seen.name == "executed":
            shard.redeliver(index)
    assert shard.used_micros == 4_000_000


def test_br_exe_005_failures_are_counted(shard: Deciding) -> None:
    create(shard)
    for number, status in enumerate(("failed", "timed_out", "cancelled", "completed", "failed")):
        run = run_now(shard, f"c{number}-run")
        shard.claim(run)
        shard.end(run, status)
    task = shard.shown()
    assert (task.failure_count, task.consecutive_failures) == (3, 1)
    assert [event.failure_count for event in shard.events("failed")] == [1, 2, 3]


def test_br_exe_006_successes_are_counted(shard: Deciding) -> None:
    create(shard)
    for number, status in enumerate(("completed", "failed", "completed")):
        run = run_now(shard, f"c{number}-run")
        shard.claim(run)
        shard.end(run, status)
    assert (shard.shown().success_count, shard.shown().run_count) == (2, 3)


async def test_br_exe_007_and_008_the_duration_is_told_and_a_timeout_kept(world: World) -> None:
    """In milliseconds, by the executor's own clock; a handler that takes longer than its timeout is ended."""
    await world.executor()
    await world.leading(await world.scheduler())
    sleeps = {"task_type": "sleep", "config": {"seconds": 0.3}}
    await world.commands.create("in-time", **sleeps)
    await world.commands.create("too-long", **sleeps, timeout_seconds=0.1)
    for task, status in (("in-time", "completed"), ("too-long", "timed_out")):
        await world.commands.ok("run", task)
        executed = (await world.events.one("executed", task)).event
        assert executed.status == status  # type: ignore[attr-defined]  # an Executed
        duration = executed.duration_ms  # type: ignore[attr-defined]  # the same
        assert isinstance(duration, int)
        assert duration >= (300 if status == "completed" else 100)
