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


def test_br_exe_003_an_execution_is_recorded_before_it_starts(shard: Deciding) -> None:
    """The claim is on its chain before the handler is called; a run on demand is there before that."""
    create(shard, schedule=EVERY_SECOND)
    run = run_now(shard)
    shard.claim(run)
    shard.end(run)
    assert [seen.name for seen in shard.chain(run)] == ["queued", "started", "executed"]
    shard.pass_time(1)
    (slot,) = shard.due
    shard.claim(slot)
    assert [seen.name for seen in shard.chain(slot)] == ["started"]


@pytest.mark.parametrize(
    ("status", "used", "cost"), [("completed", 0, 2.5), ("failed", 0, 0), ("failed", 1.5, 1.5)]
)
def test_br_exe_004_credits_are_consumed_on_success(
    shard: Deciding, status: str, used: float, cost: float
) -> None:
    """And on failure only what the handler reported as used."""
    create(shard, credits_per_run=2.5)
    run = run_now(shard)
    shard.claim(run)
    shard.end(run, status, credits_used=used)
    (executed,) = shard.events("executed")
    assert executed.credits_consumed == cost


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
