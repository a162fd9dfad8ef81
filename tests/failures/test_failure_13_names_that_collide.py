"""13: `a` + `b-c` equals `a-b` + `c`; a span event blocks a slot's claim."""

from __future__ import annotations

from gnomon_schemas import subjects
from tests.harness.world import World


def test_executions_of_different_tasks_never_share_a_chain() -> None:
    """Task and run are tokens of their own, and neither may contain a dot."""
    assert subjects.chain(3, "a", "b-c") != subjects.chain(3, "a-b", "c")
    assert subjects.event("task", "started", 3, "a", "b-c") != subjects.event(
        "task", "started", 3, "a-b", "c"
    )


async def test_two_tasks_whose_names_run_together_run_apart(world: World) -> None:
    """Each has its own executions, each recorded once."""
    (await world.fake_executor()).run()
    async with world.leader(0), world.leader(1):
        for task, command in (("a", "b-c"), ("a-b", "c")):
            await world.commands.create(task)
            await world.commands.ok("run", task, command_id=command)
        await world.events.one("executed", "a", run="r-b-c")
        await world.events.one("executed", "a-b", run="r-c")


async def test_a_span_does_not_stand_in_the_way_of_a_slot(world: World) -> None:
    """Spans are events of the task (`_`), never on an execution's chain."""
    (await world.fake_executor()).run()
    task = world.task_in(0)
    async with world.leader():
        schedule = {"kind": "interval", "every_seconds": 1}
        await world.commands.create(task, schedule=schedule, overlap="allow", paused=True)
        created = await world.events.one("created", task)
        while not world.events.of("skipped", task):
            await world.commands.ok("resume", task)
            await world.commands.ok("pause", task)
        (span, *_) = world.events.of("skipped", task)
        assert span.run == "_"
        assert span.seq > created.seq
        await world.commands.ok("resume", task)
        await world.events.one("executed", task)
        await world.settled()
