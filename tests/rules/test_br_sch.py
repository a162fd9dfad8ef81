"""BR-SCH: when a task runs."""

from __future__ import annotations

import pytest

from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.problems import Refused
from gnomon_schemas.tasks import TaskStatus
from tests.harness.deciding import Deciding
from tests.harness.ledger import audit
from tests.harness.stage import Stage
from tests.harness.world import World
from tests.rules.conftest import EVERY_SECOND, create, problem_of


def test_br_sch_001_what_is_scheduled_has_a_valid_schedule(shard: Deciding) -> None:
    """No status makes a task scheduled that has none, and no bad schedule gets in by an update."""
    create(shard)
    with pytest.raises(Refused, match="BR-STS-001"):
        shard.command("update", {"status": "scheduled"})
    with pytest.raises(Refused) as refusal:
        shard.command("update", {"schedule": {"kind": "cron", "expression": "* * *"}})
    assert problem_of(refusal)[0] == "invalid_schedule"
    assert shard.shown().status is TaskStatus.PENDING


def test_br_sch_002_the_next_run_is_reckoned_from_the_schedule(shard: Deciding) -> None:
    create(shard, schedule={"kind": "interval", "every_seconds": 10})
    first = shard.now_ms // 1000 + 10
    assert shard.shown().next_run_time == format_instant(first * 1000)
    shard.pass_time(10)
    assert shard.shown().next_run_time == format_instant((first + 10) * 1000)
    shard.command("update", {"schedule": {"kind": "once", "at": format_instant((first + 100) * 1000)}})
    assert shard.shown().next_run_time == format_instant((first + 100) * 1000)
    for verb in ("pause", "complete"):
        shard.command(verb)
        assert shard.shown().next_run_time is None


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        ("latest", "coalesced(catch_up_latest, span)"),
        ("skip", "missed(catch_up_skip, span)"),
        ("all", "executed"),
    ],
)
async def test_br_sch_003_missed_runs_go_by_the_catch_up_policy(
    world: World, policy: str, outcome: str
) -> None:
    (await world.fake_executor()).run()
    stage = Stage(world)
    leader = await stage.lead()
    catch_up = {"policy": policy, "after_seconds": 2}
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="queue_all", catch_up=catch_up)
    await leader.die()
    stage.clock.advance(20)
    await stage.lead()
    audit = await stage.settle()
    assert audit.outcomes[outcome] >= 15, audit


def test_br_sch_004_a_paused_task_skips_its_slots(shard: Deciding) -> None:
    """They are recorded as one span when the pause ends."""
    create(shard, schedule=EVERY_SECOND)
    shard.command("pause")
    shard.pass_time(5)
    assert not shard.due
    shard.command("resume")
    (span,) = shard.events("skipped")
    assert (span.reason, span.count) == ("paused", 5)
    shard.pass_time(1)
    assert len(shard.due) == 1


def test_br_sch_005_a_cancelled_task_has_no_slots_any_more(shard: Deciding) -> None:
    create(shard, schedule=EVERY_SECOND)
    shard.pass_time(1)
    shard.command("cancel")
    shard.pass_time(5)
    assert not shard.due
    assert [event.reason for event in shard.events("skipped")] == ["cancelled"]
    assert audit(shard.log, shard.now_ms).settled
