"""What a leader changes of its own accord, over the real server; `tests/failures` has what its death changes."""

from __future__ import annotations

import json
from typing import Any

from gnomon_schemas.events import StatusChanged
from gnomon_schemas.problems import Code
from tests.harness.fake_executor import Work
from tests.integration.scheduler.led import EVERY_SECOND, FAR, Led


def own(led: Led, task: str, reason: str) -> list[StatusChanged]:
    """The changes of a task with this reason."""
    found = [seen.event for seen in led.events.of("status_changed", task)]
    return [event for event in found if isinstance(event, StatusChanged) and event.reason == reason]


async def test_the_pause_is_in_the_register_that_counts_the_last_failure(led: Led) -> None:
    """No register of the task shows as many failures as it takes and is not paused."""
    task = await led.task(schedule=FAR, max_consecutive_failures=2, overlap="allow")
    seen = await _registers_while(led, task, lambda: _fail_twice(led, task))
    assert [(reg["failures"], reg["paused"]) for reg in seen][-1] == (2, True)
    assert all(reg["paused"] for reg in seen if reg["failures"] >= 2)
    (told,) = own(led, task, "max_consecutive_failures")
    assert told.task is not None
    assert told.task.paused
    assert "2 executions in a row failed" in (told.task.pause_note or "")
    assert (told.old_status, told.new_status) == ("scheduled", "paused")
    # Runs on demand are allowed while it is paused; a resume counts anew.
    resumed = (await led.commands.ok("resume", task))["task"]
    assert (resumed["status"], resumed["consecutive_failures"], resumed["failure_count"]) == (
        "scheduled",
        0,
        2,
    )


async def _fail_twice(led: Led, task: str) -> None:
    async def fail(work: Work) -> None:
        await led.fake.claim(work)
        await led.fake.finish(work, "failed")
        await led.fake.ack(work)

    led.fake.run(fail)
    try:
        for _ in range(2):
            run = (await led.commands.ok("run", task))["execution"]["run"]
            await led.events.one("executed", task, run=run)
        await led.events.one("status_changed", task)
    finally:
        await led.fake.rest()


async def _registers_while(led: Led, task: str, work: Any) -> list[dict[str, Any]]:
    """What each register of a task says, that was stored while something happened."""
    subscription = await led.world.bus.nc.subscribe(f"gnomon.write.state.task.*.{task}")
    found: list[dict[str, Any]] = []
    try:
        await work()
        while subscription.pending_msgs:
            message = await subscription.next_msg()
            body: dict[str, Any] = json.loads(message.data)
            found.append(body)
    finally:
        await subscription.unsubscribe()
    return [
        {
            "failures": reg.get("runtime", {}).get("consecutive_failures", 0),
            "paused": reg["spec"].get("paused", False),
        }
        for reg in found
    ]


async def test_a_pause_in_the_past_is_refused_with_the_field(led: Led) -> None:
    task = await led.task(schedule=FAR)
    await led.refused("pause", task, {"until": "2020-01-01T00:00:00Z"}, code=Code.INVALID, pointer="#/until")
    await led.refused("pause", task, {"until": "soon"}, code=Code.INVALID, pointer="#/until")


async def test_a_task_that_is_created_paused_fires_once_it_is_resumed(led: Led) -> None:
    task = await led.task(schedule=EVERY_SECOND, paused=True, overlap="allow")
    created = await led.events.one("created", task)
    assert created.event.task.status == "paused"  # type: ignore[attr-defined]  # a Created
    assert created.event.task.next_run_time is None  # type: ignore[attr-defined]  # a Created
    led.fake.run()
    try:
        run = (await led.commands.ok("run", task))["execution"]["run"]
        await led.events.one("executed", task, run=run)
        await led.commands.ok("resume", task)
        await led.events.some(2, "executed", task)
    finally:
        await led.fake.rest()
        await led.commands.ok("delete", task)
