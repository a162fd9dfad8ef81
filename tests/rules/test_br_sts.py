"""BR-STS: from which status to which. `tests/unit/rules/test_transitions.py` walks the whole table."""

from __future__ import annotations

import pytest

from gnomon_schemas.lifecycle import TRANSITIONS, reachable
from gnomon_schemas.problems import Refused
from gnomon_schemas.tasks import TaskStatus
from tests.harness.deciding import Deciding
from tests.rules.conftest import EVERY_SECOND, create


def status_of(shard: Deciding) -> str:
    return shard.shown().status.value


def told(shard: Deciding) -> list[tuple[str, str, str]]:
    """Every change of status that was told."""
    return [(one.old_status, one.new_status, one.reason) for one in shard.events("status_changed")]


def test_br_sts_001_pending_becomes_scheduled_by_a_schedule(shard: Deciding) -> None:
    create(shard)
    shard.command("update", {"schedule": EVERY_SECOND})
    assert told(shard) == [("pending", "scheduled", "update")]


def test_br_sts_002_scheduled_becomes_running_by_a_start(shard: Deciding) -> None:
    """Derived: the run's own event tells it."""
    create(shard, schedule=EVERY_SECOND)
    shard.pass_time(1)
    (run,) = shard.due
    shard.claim(run)
    assert status_of(shard) == "running"
    assert told(shard) == []
    shard.end(run)
    assert status_of(shard) == "scheduled"


@pytest.mark.parametrize(("ends", "status", "reason"), [("completed", "completed", "no_slot_left")])
def test_br_sts_003_running_becomes_completed_on_success(
    shard: Deciding, ends: str, status: str, reason: str
) -> None:
    _run_out(shard, ends)
    assert (status_of(shard), told(shard)) == (status, [("scheduled", status, reason)])


@pytest.mark.parametrize("ends", ["failed", "timed_out"])
def test_br_sts_004_running_becomes_failed_on_failure(shard: Deciding, ends: str) -> None:
    """Where that was its only run; a recurring one stays scheduled."""
    _run_out(shard, ends)
    assert (status_of(shard), told(shard)) == ("failed", [("scheduled", "failed", "only_run_failed")])
    recurring = Deciding(shard.now_ms)
    create(recurring, schedule=EVERY_SECOND)
    recurring.pass_time(1)
    (run,) = recurring.due
    recurring.claim(run)
    recurring.end(run, ends)
    assert (status_of(recurring), told(recurring)) == ("scheduled", [])


def _run_out(shard: Deciding, ends: str) -> None:
    create(shard, schedule={"kind": "once", "at": "2099-01-01T00:00:00Z"})
    shard.now_ms = 4_070_908_799_500
    shard.pass_time(1)
    (run,) = shard.due
    shard.claim(run)
    assert status_of(shard) == "running"
    shard.end(run, ends)


def test_br_sts_005_scheduled_becomes_paused_by_a_pause(shard: Deciding) -> None:
    create(shard, schedule=EVERY_SECOND)
    shard.command("pause")
    assert told(shard) == [("scheduled", "paused", "pause")]


def test_br_sts_006_paused_becomes_scheduled_by_a_resume(shard: Deciding) -> None:
    create(shard, schedule=EVERY_SECOND, paused=True)
    shard.command("resume")
    assert told(shard) == [("paused", "scheduled", "resume")]


@pytest.mark.parametrize("before", [None, "pause", "complete", "running"])
def test_br_sts_007_anything_becomes_cancelled(shard: Deciding, before: str | None) -> None:
    create(shard, schedule=EVERY_SECOND)
    if before == "running":
        shard.pass_time(1)
        shard.claim(next(iter(shard.due)))
    elif before is not None:
        shard.command(before)
    old = shard.reg
    shard.command("cancel", {"reason": "no more of it"})
    assert status_of(shard) == "cancelled"
    assert told(shard)[-1][1:] == ("cancelled", "no more of it")
    assert old is not shard.reg
    for status in set(TaskStatus) - {TaskStatus.CANCELLED}:
        assert TaskStatus.CANCELLED in {one.new for one in TRANSITIONS if one.old is status}


def test_br_sts_008_cancelled_is_final(shard: Deciding) -> None:
    create(shard, schedule=EVERY_SECOND)
    shard.command("cancel")
    for verb, body in (("pause", {}), ("complete", {}), ("update", {"schedule": None})):
        with pytest.raises(Refused, match="final"):
            shard.command(verb, body)
    assert status_of(shard) == "cancelled"
    assert reachable(TaskStatus.CANCELLED) == set()
