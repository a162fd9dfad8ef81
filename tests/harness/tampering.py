"""Hands in the log and in the archive that no Gnomon process has: to show that the audit finds what they do.

Each does one thing to one slot, past every rule that the services keep: in the streams by JetStream's own API and by
the write door, in the archive by SQL.
"""

from __future__ import annotations

import msgspec

from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant, parse_slot_run
from gnomon_schemas.dues import Due
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.tasks import RetryPolicy, Trigger
from tests.harness.world import World, now_ms

__all__ = ["double_in_log", "emit_under_revision", "lose", "remove_from_log"]


async def remove_from_log(world: World, task_id: str, run: str) -> int:
    """Take a slot's whole chain out of the stream; how many events that were."""
    chain = subjects.chain(world.partition(task_id), task_id, run)
    answer = await world.bus.api(f"STREAM.PURGE.{EVENTS_STREAM}", {"filter": chain})
    return int(answer["purged"])


async def double_in_log(world: World, task_id: str, run: str) -> None:
    """Append a second result to a slot's chain, expecting nothing of it."""
    partition = world.partition(task_id)
    stored = await world.bus.last(EVENTS_STREAM, subjects.event("task", "executed", partition, task_id, run))
    assert stored is not None, f"{task_id}.{run} has no result to double"
    headers = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
    await world.bus.store(stored.subject, stored.data, headers)


async def emit_under_revision(world: World, task_id: str, run: str, revision: int) -> None:
    """Publish a due for a slot whose chain is empty, as of another revision: an executor takes it for real."""
    nominal = parse_slot_run(run)
    assert nominal is not None
    at = format_instant(int(nominal.timestamp()) * 1000)
    partition = world.partition(task_id)
    _, reg = await world.task_register(task_id)
    due = Due(
        execution_id=f"{task_id}.{run}",
        task_id=task_id,
        run=run,
        user_id=reg.user_id,
        task_type=reg.spec.task_type,
        config=reg.spec.config,
        trigger=Trigger.SCHEDULE,
        attempt=1,
        scheduled_for=at,
        due_at=at,
        expires_at=format_instant(now_ms() + 3_600_000),
        timeout_seconds=60,
        deadline=None,
        total_timeout_seconds=None,
        retry=RetryPolicy(),
        priority=reg.spec.priority,
        pool="default",
        credits_per_run=0,
        revision=revision,
        epoch=1,
        cause_seq=0,
    )
    subject = subjects.due("default", reg.spec.priority, partition, task_id)
    await world.bus.store(subject, msgspec.json.encode(due))


async def lose(world: World, task_id: str, run: str) -> None:
    """Take a slot's chain out of the stream, and out of what the test has heard: to both it never was."""
    await world.events.catch_up()
    assert await remove_from_log(world, task_id, run), f"{task_id}.{run} has no events"
    kept = [seen for seen in world.events.all if (seen.task_id, seen.run) != (task_id, run)]
    world.events.all[:] = kept
