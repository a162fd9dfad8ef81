"""What /metrics of the three services tells while work is done, and after a leader has died."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gnomon_core.runtime.metrics import Metric, Process
from tests.harness.commands import fresh_id
from tests.harness.processes import Process as Child
from tests.harness.waiting import until_async
from tests.harness.world import World
from tests.integration.observed.test_traces import TYPES

pytestmark = pytest.mark.timeout(120)

Series = dict[str, list[tuple[dict[str, str], float]]]


async def scrape(child: Child) -> Series:
    """What a process tells now, by series."""
    if child.name.startswith("api"):
        index = await child.logged("http.listening")
        base = child.lines[index - 1]["url"]
    else:
        index = await child.logged("health.listening")
        base = f"http://127.0.0.1:{child.lines[index - 1]['port']}"
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{base}/metrics")).text
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of a series over all labels that are not named."""
    return sum(value for found, value in series.get(name, []) if labels.items() <= found.items())


async def told(child: Child, name: str, at_least: float, **labels: str) -> None:
    """Wait until a process tells at least so much."""

    async def is_so() -> bool:
        return total(await scrape(child), name, **labels) >= at_least

    try:
        await until_async(is_so, within=30)
    except TimeoutError:
        shown = (await scrape(child)).get(name)
        raise AssertionError(f"{child.name}: {name} {labels} is {shown}, not {at_least}") from None


async def test_each_service_tells_its_own_and_they_agree(world: World, postgres_url: str) -> None:
    """Counters of what was done, gauges of what stands, and nothing of another service's."""
    scheduler = await world.scheduler()
    executor = await world.executor(GNOMON_EXECUTOR_TASKS=TYPES, GNOMON_EXECUTOR_CONCURRENCY="7")
    api = await world.api(postgres_url)
    await world.leading(scheduler)
    task, failing = fresh_id("t"), fresh_id("t")
    await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1})
    await world.commands.create(failing, task_type="observed_failing", retry={"max_attempts": 2})
    command, _ = await world.commands.post("run", failing)
    _ = await world.commands.post("run", failing, command_id=command)
    await world.events.some(2, "executed", task)
    await world.events.one("dead_lettered", failing)

    await told(scheduler, "gnomon_fires_total", 2, trigger="schedule")
    await told(scheduler, "gnomon_fire_lateness_seconds_count", 2, trigger="schedule")
    await told(scheduler, "gnomon_commands_total", 2, verb="create", result="ok")
    await told(scheduler, "gnomon_command_seconds_count", 2)
    await told(scheduler, "gnomon_shards_led", 2)
    await told(scheduler, "gnomon_leases_held", 2, duty="shard")
    await told(scheduler, "gnomon_leases_held", 1, duty="janitor")
    await told(scheduler, "gnomon_leases_gained_total", 2, duty="shard", how="free")
    await told(scheduler, "gnomon_partitions", 2)
    await told(scheduler, "gnomon_shard_tasks", 2)
    await told(scheduler, "gnomon_dead_letters_total", 1, reason="retries_exhausted")
    await told(executor, "gnomon_executor_slots", 7)
    await told(executor, "gnomon_executions_total", 2, task_type="echo", status="completed")
    await told(executor, "gnomon_executions_total", 1, task_type="observed_failing", status="retrying")
    await told(api, "gnomon_members", 1, kind="executor")
    await told(api, "gnomon_leases_held", 1, duty="projector")
    await told(api, "gnomon_projected_events_total", 6)
    await told(api, "gnomon_check_ok", 1, check="postgres")
    await told(api, "gnomon_stream_bytes", 1000, stream="TASKS")
    pools = (await scrape(api))["gnomon_pool_pending"]
    assert {labels["pool"] for labels, _ in pools} >= {"default"}

    kinds: dict[Process, Child] = {"scheduler": scheduler, "executor": executor, "api": api}
    for kind, child in kinds.items():
        series = await scrape(child)
        assert total(series, "gnomon_build_info", process=kind) == 1
        await told(child, "gnomon_event_loop_lag_seconds_count", 4)
        allowed = {metric.value.name for metric in Metric if kind in metric.value.processes}
        families = {
            name if name in allowed else name.rpartition("_")[0]
            for name in series
            if name.startswith("gnomon_")
        }
        assert families <= allowed
        bare = {
            metric.value.name for metric in Metric if metric.value.name in allowed and not metric.value.labels
        }
        assert bare <= families, "without labels it is there from the start"


async def test_a_leader_that_dies_and_work_that_waits_can_be_seen(world: World, postgres_url: str) -> None:
    """The successor counts what it took over and how; the api sees work that nobody takes, and its end."""
    first = await world.scheduler()
    await world.leading(first)
    executor = await world.executor(GNOMON_EXECUTOR_POOLS="default,mail")
    api = await world.api(postgres_url)
    task = fresh_id("t")
    await world.commands.create(task, pool="mail", schedule={"kind": "interval", "every_seconds": 1})
    await world.events.one("executed", task)
    second = await world.scheduler()
    await executor.kill()
    await first.kill()
    await told(second, "gnomon_shards_led", 2)
    series = await scrape(second)
    assert total(series, "gnomon_leases_gained_total", duty="shard") >= 2
    await told(second, "gnomon_shard_takeovers_total", 2)
    await told(api, "gnomon_pool_pending", 1, pool="mail")
    _ = await world.executor(GNOMON_EXECUTOR_POOLS="default,mail")

    async def drained() -> bool:
        return total(await scrape(api), "gnomon_pool_pending", pool="mail") == 0

    await until_async(drained, within=30)


async def test_a_lost_connection_is_counted(world: World) -> None:
    """Reconnects, and the readers of streams that began anew."""
    scheduler = await world.scheduler()
    await world.leading(scheduler)
    node = world.broker.nodes[0]
    await node.restart()
    await told(scheduler, "gnomon_nats_reconnects_total", 1)
    await told(scheduler, "gnomon_follower_restarts_total", 1, stream="TASKS")
    await told(scheduler, "gnomon_check_ok", 1, check="nats")
