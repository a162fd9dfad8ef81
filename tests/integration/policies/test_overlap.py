"""Overlap through scheduler and executor: what becomes of the slots that come while one runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest_asyncio

from gnomon_schemas.events import Executed, Skipped
from tests.harness.ledger import audit
from tests.harness.recorded import most_at_once
from tests.harness.target import Target
from tests.harness.world import World, now_ms

EVERY_SECOND: Final = {"kind": "interval", "every_seconds": 1}
POLICIES: Final = ("skip", "queue", "queue_all", "allow", "cancel_running")


@pytest_asyncio.fixture(loop_scope="module")
async def target() -> AsyncIterator[Target]:
    """What the handlers call: they run until it answers."""
    async with Target() as target:
        yield target


async def test_what_comes_while_one_runs_goes_by_the_overlap_policy(running: World, target: Target) -> None:
    """One task of each policy fires every second, and what runs is held for as long as three slots take."""
    events = running.events
    for policy in POLICIES:
        config = {"url": f"{target.url}/held/{policy}", "timeout_seconds": 60}
        await running.commands.create(
            policy, task_type="http_request", config=config, schedule=EVERY_SECOND, overlap=policy
        )
    await asyncio.gather(
        events.some(2, "skipped", "skip", reason="overlap"),
        events.one("queued", "queue", reason="overlap"),
        events.one("skipped", "queue", reason="overlap"),
        events.some(3, "queued", "queue_all", reason="overlap"),
        events.some(3, "started", "allow"),
        events.some(2, "executed", "cancel_running", status="cancelled"),
    )
    held = {policy: [seen.run for seen in events.of("started", policy)] for policy in POLICIES}
    assert {policy: len(held[policy]) for policy in ("skip", "queue", "queue_all")} == {
        "skip": 1,
        "queue": 1,
        "queue_all": 1,
    }
    target.open()
    await asyncio.gather(
        events.some(4, "executed", "queue_all"),
        events.some(2, "executed", "queue"),
        events.some(2, "executed", "skip"),
        events.some(3, "executed", "allow"),
        events.one("executed", "cancel_running", status="completed"),
    )
    await asyncio.gather(*(running.commands.ok("delete", policy) for policy in POLICIES))
    found = await running.settled()
    outcomes = {policy: _outcomes(running, policy) for policy in POLICIES}
    for policy in ("skip", "queue", "queue_all", "cancel_running"):
        assert most_at_once(events.of(task_id=policy)) == 1, policy
    # The deletion ends what waits or runs just then.
    at_the_end = {"completed", "skipped(deleted)", "cancelled"}
    assert set(outcomes["queue_all"]) <= at_the_end, outcomes
    assert set(outcomes["allow"]) <= at_the_end, outcomes
    assert outcomes["skip"]["skipped(overlap)"] >= 2
    assert outcomes["queue"]["skipped(overlap)"] >= 1
    assert outcomes["cancel_running"]["cancelled"] >= 2
    assert found.sound, found
    started = [seen.run for seen in events.of("started", "queue_all")]
    assert started == sorted(started), "they ran out of order"


def _outcomes(world: World, task: str) -> Counter[str]:
    """How the slots of a task ended."""
    words: Counter[str] = Counter()
    for seen in world.events.of(task_id=task):
        match seen.event:
            case Executed() as event:
                words[event.status] += 1
            case Skipped() as event:
                words[f"skipped({event.reason})"] += 1
    assert audit(world.events.of(task_id=task), now_ms()).sound
    return words
