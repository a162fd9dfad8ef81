"""What the three services log while they handle one execution carries its ids, from the request to the result."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.commands import fresh_id
from tests.harness.over_http import OverHttp
from tests.harness.processes import Process
from tests.harness.world import World
from tests.integration.observed.test_traces import CALLER, TRACEPARENT, TYPES

pytestmark = pytest.mark.timeout(120)


def lines(process: Process, **fields: Any) -> list[dict[str, Any]]:
    """What a process has logged with these fields."""
    return [line for line in process.lines if fields.items() <= line.items()]


async def test_one_execution_can_be_followed_through_the_logs_of_three_services(
    world: World, postgres_url: str
) -> None:
    """Trace, task and execution are on every line about it, the handler's own lines included."""
    world.settings["GNOMON_LOG_LEVEL"] = "debug"
    scheduler = await world.scheduler()
    executor = await world.executor(GNOMON_EXECUTOR_TASKS=TYPES)
    api = await world.api(postgres_url)
    task = fresh_id("t")
    async with OverHttp.of(api) as http:
        await http.create(task, task_type="observed_speaking")
        answer = await http.client.post(f"/tasks/{task}/execute", headers={"traceparent": TRACEPARENT})
        execution = answer.json()["execution_id"]
    await world.events.one("executed", task)
    await executor.logged("attempt.recorded", execution_id=execution)
    await api.logged("http.answered", trace_id=CALLER)

    whole = {"trace_id": CALLER, "task_id": task, "execution_id": execution}
    (asked,) = lines(api, event="http.answered", trace_id=CALLER)
    assert (asked["task_id"], asked["route"], asked["status"]) == (
        task,
        "/api/v1/tasks/{task_id}/execute",
        202,
    )
    (decided,) = lines(scheduler, event="command.decided", trace_id=CALLER, task_id=task)
    assert (decided["verb"], decided["result"]) == ("run", "ok")
    assert decided["command_id"]
    assert len(lines(scheduler, event="due.made", **whole)) == 1
    assert len(lines(executor, event="attempt.begun", **whole)) == 1
    assert len(lines(executor, event="attempt.recorded", status="completed", **whole)) == 1
    assert len(lines(executor, event="said.by_structlog", **whole)) == 1
    assert len(lines(executor, event="said.by_logging", **whole)) == 1
    spans = [
        lines(executor, event=name, **whole)[0]["span_id"] for name in ("attempt.begun", "said.by_logging")
    ]
    assert spans[0] == spans[1]


async def test_handlers_that_run_at_once_do_not_borrow_each_others_ids(world: World) -> None:
    """Of many executions that begin in one burst, on the handlers' loop and in threads, each logs its own ids."""
    executor = await world.executor(GNOMON_EXECUTOR_TASKS=TYPES)
    await world.scheduler()
    kinds = {"observed_speaking": "said.by_structlog", "observed_speaking_plainly": "said.in_thread"}
    for task_type, said in kinds.items():
        tasks = [fresh_id("t") for _ in range(20)]
        for task in tasks:
            await world.commands.create(task, task_type=task_type)
        runs = {task: (await world.commands.post("run", task))[0] for task in tasks}
        for task in tasks:
            await world.events.one("executed", task)
        await executor.logged(said, task_id=tasks[-1])
        found = {line["task_id"]: line["execution_id"] for line in executor.has_logged(said)}
        assert found == {task: f"{task}.r-{runs[task]}" for task in tasks}
        traces = {line["trace_id"] for line in executor.has_logged(said)}
        assert len(traces) == len(tasks)


async def test_what_goes_wrong_in_a_decision_is_logged_with_its_command(world: World) -> None:
    """Nothing of this needs the debug level: a dropped result is a warning, and says of which execution."""
    executor = await world.executor(GNOMON_EXECUTOR_TASKS=TYPES)
    await world.scheduler()
    task = fresh_id("t")
    await world.commands.create(task, task_type="observed_speaking")
    command, _ = await world.commands.post("run", task, headers={"traceparent": TRACEPARENT})
    index = await executor.logged("said.by_logging")
    line = executor.lines[index - 1]
    assert (line["level"], line["process"]) == ("warning", "executor")
    assert (line["trace_id"], line["execution_id"]) == (CALLER, f"{task}.r-{command}")
