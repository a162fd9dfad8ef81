"""The whole chain of spans, from whoever asked to the row in the read models, as a collector receives it."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.embedded import free_port
from gnomon_schemas.clock_text import format_instant
from tests.harness.commands import fresh_id
from tests.harness.otlp_receiver import OtlpReceiver
from tests.harness.over_http import OverHttp
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.timeout(120)

TYPES = "tests.integration.observed.task_types"
CALLER, CALLERS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{CALLER}-{CALLERS_SPAN}-01"


def settings(receiver: OtlpReceiver, **more: str) -> dict[str, str]:
    """What makes a process push soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "300",
        "GNOMON_LOG_LEVEL": "debug",
        **more,
    }


def soon() -> str:
    """A second from now, at the least."""
    return format_instant((now_ms() // 1000 + 2) * 1000)


async def test_a_fire_has_a_trace_of_its_own_linked_to_the_post_that_made_its_schedule(
    world: World, receiver: OtlpReceiver, postgres_url: str
) -> None:
    """POST /tasks, its decision, and a fire with two attempts: two traces, linked, each span below the one before."""
    world.settings |= settings(receiver)
    await world.scheduler()
    await world.executor(GNOMON_EXECUTOR_TASKS=TYPES)
    api = await world.api(postgres_url)
    task = fresh_id("t")
    async with OverHttp.of(api) as http:
        body = {
            "task_id": task,
            "name": task,
            "task_type": "observed_flaky",
            "schedule": {"kind": "once", "at": soon()},
            "retry": {"max_attempts": 3},
        }
        answer = await http.client.post("/tasks", json=body, headers={"traceparent": TRACEPARENT})
        assert answer.status_code == 201, answer.text
        executed = await world.events.one("executed", task)
        execution = f"{task}.{executed.run}"

        (decide,) = await receiver.spans_where(1, name="decide task.create", task_id=task)
        (request,) = await receiver.spans_where(1, span_id=decide.parent_id)
        assert (request.service, request.name) == ("gnomon-api", "POST /api/v1/tasks")
        assert (request.trace_id, request.parent_id) == (CALLER, CALLERS_SPAN)
        assert request.attributes["http.response.status_code"] == 201
        assert (decide.service, decide.trace_id) == ("gnomon-scheduler", CALLER)

        fires = await receiver.spans_where(2, name="fire", execution_id=execution)
        first, second = sorted(fires, key=lambda span: int(span.attributes["gnomon.attempt"]))
        assert first.trace_id != CALLER
        assert first.links == ((CALLER, decide.span_id),)
        assert first.parent_id == ""
        assert second.trace_id == first.trace_id, "a retry goes on in its fire's trace"

        attempts = await receiver.spans_where(2, name="execute observed_flaky", execution_id=execution)
        assert {span.parent_id for span in attempts} == {first.span_id, second.span_id}
        assert {span.trace_id for span in attempts} == {first.trace_id}
        told = {span.parent_id: (span.attributes["gnomon.status"], span.failed) for span in attempts}
        assert told == {first.span_id: ("retrying", True), second.span_id: ("completed", False)}

        last = next(span for span in attempts if span.parent_id == second.span_id)
        (projected, *_) = await receiver.spans_where(1, name="project", parent_id=last.span_id)
        assert (projected.service, projected.trace_id) == ("gnomon-api", first.trace_id)

        shown = (await http.client.get(f"/executions/{execution}")).json()
        assert shown["trace_id"] == first.trace_id, "what a reader sees leads to the trace"


async def test_a_run_on_demand_continues_its_callers_trace_over_http_and_over_nats(
    world: World, receiver: OtlpReceiver, postgres_url: str
) -> None:
    """One trace from the caller's own span to the stored result, whichever way the caller came."""
    world.settings |= settings(receiver)
    await world.scheduler()
    await world.executor()
    api = await world.api(postgres_url)
    task = fresh_id("t")
    async with OverHttp.of(api) as http:
        await http.create(task)
        answer = await http.client.post(f"/tasks/{task}/execute", headers={"traceparent": TRACEPARENT})
        assert answer.status_code == 202, answer.text
        over_http = answer.json()["execution_id"]
    other = TRACEPARENT.replace(CALLER, "1" * 32)
    command, _ = await world.commands.post("run", task, headers={"traceparent": other})
    over_nats = f"{task}.r-{command}"

    for execution, trace in ((over_http, CALLER), (over_nats, "1" * 32)):
        (execute,) = await receiver.spans_where(1, name="execute echo", execution_id=execution)
        (fire,) = await receiver.spans_where(1, name="fire", execution_id=execution)
        (decide,) = await receiver.spans_where(1, name="decide task.run", span_id=fire.parent_id)
        assert execute.parent_id == fire.span_id
        assert {span.trace_id for span in (execute, fire, decide)} == {trace}
        assert not fire.links
        await receiver.spans_where(1, name="project", parent_id=execute.span_id)
    (by_nats,) = await receiver.spans_where(1, name="decide task.run", trace_id="1" * 32)
    assert by_nats.parent_id == CALLERS_SPAN
    stored = await world.events.one("executed", task, run=over_nats.partition(".")[2])
    assert stored.headers["traceparent"].split("-")[1] == "1" * 32


async def test_what_a_sampler_leaves_out_is_not_pushed_and_its_header_says_so(
    world: World, receiver: OtlpReceiver
) -> None:
    """`always_off`: nothing is recorded, and whoever comes after is told."""
    world.settings |= settings(receiver, OTEL_TRACES_SAMPLER="always_off")
    scheduler = await world.scheduler()
    executor = await world.executor()
    task = fresh_id("t")
    await world.commands.create(task)
    command, _ = await world.commands.post("run", task, headers={"traceparent": TRACEPARENT})
    stored = await world.events.one("executed", task, run=f"r-{command}")
    assert stored.headers["traceparent"].split("-")[1::2] == [CALLER, "00"]
    await scheduler.stop()
    await executor.stop()
    assert receiver.spans == []
    assert "gnomon_executions_total" in receiver.metrics, "metrics are pushed all the same"


async def test_a_receiver_that_is_away_holds_up_neither_work_nor_the_end(world: World) -> None:
    """Work is done, the end comes within seconds and with code 0, and the log says what was lost."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    world.settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT": nowhere, "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    scheduler = await world.scheduler()
    executor = await world.executor()
    task = fresh_id("t")
    await world.commands.create(task)
    command, _ = await world.commands.post("run", task)
    await world.events.one("executed", task, run=f"r-{command}")
    for process in (executor, scheduler):
        assert await process.stop(within=15) == 0
        said = " ".join(str(line.get("event")) for line in process.lines)
        assert "push.cut_off" in said or "Failed to export" in said
