"""All policies at work at the same time while schedulers, executors and the broker are killed and frozen at random."""

from __future__ import annotations

import asyncio
import os
import secrets

import pytest

from tests.chaos.audited import audited, tamper, tell_of
from tests.chaos.policies_at_work import NARROW_POOL, PARTS
from tests.harness.fixtures import BOTH
from tests.harness.hand import ALL, Hand
from tests.harness.processes import Process
from tests.harness.read_models import differences, end_everything
from tests.harness.world import World, now_ms, tell

SECONDS = float(os.environ.get("GNOMON_CHAOS_SECONDS") or 120)
SEED = os.environ.get("GNOMON_CHAOS_SEED")
SETTLE_SECONDS = 180 + SECONDS / 2
"""Tasks that run one at a time have a queue in the end, the longer the more of their time was lost."""
TASK_TYPES = "tests.integration.policies.task_types"

# Beside the run itself: settling, the audits, and the read models made anew twice.
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(780 + 2 * SECONDS), BOTH]


async def test_all_policies_while_everything_is_killed(world: World, postgres_url: str) -> None:
    """Nothing is lost and nothing doubled: every slot and every run has exactly one outcome, each policy keeps its
    word, the audit finds nothing, and the read models equal the log and a rebuild of it. What is then removed from the
    archive, doubled in it or put under a wrong revision, the audit names, and nothing else."""
    begin_ms = now_ms()
    seed = int(SEED) if SEED else secrets.randbelow(1_000_000)
    tell(f"seed {seed}")

    async def executor() -> Process:
        pools = f"default,{NARROW_POOL}"
        return await world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES, GNOMON_EXECUTOR_POOLS=pools)

    hand = Hand(world, seed, executor=executor, acts=ALL, pause_ms=(500, 4000))
    await hand.start()
    # Its own audits would only be asked while everything moves.
    api = await world.api(postgres_url, GNOMON_AUDIT_EVERY="0s")
    parts = [part(world, seed) for part in PARTS]
    await asyncio.gather(*(part.begin() for part in parts))
    over = asyncio.Event()
    async with asyncio.TaskGroup() as users:
        for part in parts:
            users.create_task(part.go_on(over), name=part.name)
        try:
            await hand.work_for(SECONDS)
        finally:
            over.set()
            tell(f"ended: {', '.join(hand.ended)}")
    await asyncio.gather(*(part.finish() for part in parts))
    until = now_ms()
    found = await world.settled(until, within=SETTLE_SECONDS)
    tell(f"settled {(now_ms() - until) / 1000:g} s after the last act")
    for engine in ("timing", "cronsim"):
        report = await audited(world, postgres_url, api, begin_ms, until, engine)
        tell(tell_of(report))
        assert report["sound"], report
        assert report["expected"] > 0
    await end_everything(world, postgres_url)
    tell(f"{found}; {len(world.events.all)} events")
    for part in parts:
        part.check()
    assert world.audit(until).settled
    assert await differences(world, postgres_url) == []
    tampered = await tamper(world, postgres_url, until)
    api = await world.api(postgres_url, GNOMON_AUDIT_EVERY="0s")
    report = await audited(world, postgres_url, api, begin_ms, until)
    tell(f"after tampering: {tell_of(report)}")
    named = {
        what: [slot["execution_id"] for slot in report[what]]
        for what in ("missing", "duplicate", "misplaced")
    }
    assert named == {what: [name] for what, name in tampered._asdict().items()}
    assert report["miscounted"] == []
