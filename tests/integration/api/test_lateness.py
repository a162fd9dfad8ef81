"""Where the time went between when an execution was due and its end, over HTTP."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_schemas.clock_text import slot_run
from tests.integration.api.conftest import Running
from tests.integration.api.stories import START_MS, Story, a_task

API = "/api/v1"
_DUE_MS = START_MS + 60_000


async def stored(running: Running, story: Story) -> None:
    """Store a story's events as services do, and wait for the read models."""
    bus = running.api.services.bus
    for one in story.stored:
        seq = (await bus.store(one.subject, one.data, one.headers)).seq
    assert await running.api.services.projection.reached(seq, within=10)


async def lateness(running: Running, task_id: str, tell: Any) -> tuple[int | None, Any]:
    """`lateness_ms` and `lateness` of a task's first slot; `tell` tells its events from when it is due."""
    task, story = a_task(task_id), Story()
    story.created(task)
    story.now_ms = _DUE_MS
    tell(story, task, slot_run(_DUE_MS // 1000))
    await stored(running, story)
    found = (await running.http.get(f"{API}/tasks/{task_id}/executions")).json()["items"][0]
    return found["lateness_ms"], found["lateness"]


async def test_lateness_is_split_into_scheduler_queue_and_run(running: Running) -> None:
    def tell(story: Story, task: Any, run: str) -> None:
        story.now_ms += 250
        story.started(task, run, published_ms=_DUE_MS + 40)
        story.retrying(task, run)
        story.now_ms += 5000
        story.started(task, run, 2, published_ms=_DUE_MS + 6000)
        story.executed(task, run, 2)

    late, parts = await lateness(running, "late-whole", tell)
    # The first attempt's; the run lasts from its start to the end of the last.
    assert (late, parts) == (250, {"scheduler_ms": 40, "queue_ms": 210, "run_ms": 8000})
    assert late == parts["scheduler_ms"] + parts["queue_ms"]


async def test_what_runs_has_no_run_time_yet_and_what_waits_no_lateness(running: Running) -> None:
    late, parts = await lateness(
        running, "late-running", lambda story, task, run: story.started(task, run, published_ms=_DUE_MS + 3)
    )
    assert (late, parts) == (0, {"scheduler_ms": 3, "queue_ms": -3, "run_ms": None})
    waiting = await lateness(running, "late-queued", lambda story, task, run: story.queued(task, run))
    assert waiting == (None, None)


async def test_an_executor_that_does_not_tell_when_the_due_was_published_leaves_the_parts_open(
    running: Running,
) -> None:
    _, parts = await lateness(running, "late-old", lambda story, task, run: story.started(task, run))
    assert parts == {"scheduler_ms": None, "queue_ms": None, "run_ms": None}


async def test_a_task_shows_since_when_its_objective_is_broken(running: Running) -> None:
    task, story = a_task("late-objective", lateness_slo_seconds=30.0), Story()
    story.created(task)
    broken_at = story.now
    story.slo_broken(task)
    story.updated(msgspec.structs.replace(task, version=2))
    await stored(running, story)
    path = f"{API}/tasks/{task.task_id}"
    assert (await running.http.get(path)).json()["lateness_slo_broken_since"] == broken_at
    later = Story(at_ms=story.now_ms)
    later.slo_recovered(task, broken_at)
    await stored(running, later)
    assert (await running.http.get(path)).json()["lateness_slo_broken_since"] is None
