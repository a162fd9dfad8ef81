"""BR-TSK: how a task is made."""

from __future__ import annotations

import uuid

import pytest

from gnomon_api.idempotency import new_id
from gnomon_core.rules.account_rules import AccountRules
from gnomon_scheduler.decisions.user_limits import tier_of
from gnomon_scheduler.object_registers import KnownAccount
from gnomon_schemas.accounts import Tier, account_id_of
from gnomon_schemas.problems import Refused
from gnomon_schemas.tasks import Priority, TaskStatus
from tests.harness.deciding import Deciding
from tests.rules.conftest import EVERY_SECOND, create, problem_of


def test_br_tsk_001_ids_are_unique(shard: Deciding) -> None:
    """An id that is made is a UUID of its own; one that is taken makes no second task."""
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert {uuid.UUID(one).version for one in made} == {7}
    create(shard)
    with pytest.raises(Refused) as refusal:
        shard.command("create", {"name": "other", "task_type": "echo"}, user="u1")
    assert problem_of(refusal)[0] == "already_exists"


def test_br_tsk_002_a_user_has_an_account_where_everybody_needs_one(shard: Deciding) -> None:
    """Otherwise one without an account is on the free tier; the system's own tasks need none."""
    assert tier_of("u1", shard.around()) is Tier.FREE
    needing = Deciding(shard.now_ms, rules=AccountRules(required=True))
    with pytest.raises(Refused, match="u1") as refusal:
        create(needing)
    assert problem_of(refusal)[0] == "account_required"
    needing.command("create", {"name": "n", "task_type": "echo"}, user=None)
    has = KnownAccount(object_id=account_id_of("u1"), version=1, user_id="u1", tier=Tier.BASIC)
    needing = Deciding(
        shard.now_ms, rules=AccountRules(required=True), objects={"account": {account_id_of("u1"): has}}
    )
    create(needing)
    assert tier_of("u1", needing.around()) is Tier.BASIC


@pytest.mark.parametrize("name", ["", "x" * 256, None, 7, "a\x00b"])
def test_br_tsk_003_a_name_has_1_to_255_characters(shard: Deciding, name: object) -> None:
    with pytest.raises(Refused) as refusal:
        create(shard, name=name)
    assert problem_of(refusal) == ("invalid", ["#/name"])
    for allowed in ("x", "é" * 255):
        create(Deciding(shard.now_ms), name=allowed)


def test_br_tsk_004_a_type_is_one_that_is_known(shard: Deciding) -> None:
    """Those that executors announce, and those without work."""
    with pytest.raises(Refused, match="known are: calendar_event, echo, reminder, todo") as refusal:
        create(shard, task_type="ecco")
    assert problem_of(refusal) == ("unknown_task_type", ["#/task_type"])
    for task_type in ("echo", "todo"):
        create(Deciding(shard.now_ms), task_type=task_type)


def test_br_tsk_005_a_task_without_a_schedule_is_pending(shard: Deciding) -> None:
    """And one with a schedule is scheduled at once."""
    create(shard)
    assert shard.shown().status is TaskStatus.PENDING
    other = Deciding(shard.now_ms)
    create(other, schedule=EVERY_SECOND)
    assert other.shown().status is TaskStatus.SCHEDULED


def test_br_tsk_006_the_default_priority_is_medium(shard: Deciding) -> None:
    create(shard)
    assert shard.shown().priority is Priority.MEDIUM


@pytest.mark.parametrize("per_run", [-1, -0.001, "1", None, True])
def test_br_tsk_007_credits_per_run_are_not_negative(shard: Deciding, per_run: object) -> None:
    with pytest.raises(Refused) as refusal:
        create(shard, credits_per_run=per_run)
    assert problem_of(refusal) == ("invalid", ["#/credits_per_run"])
    for allowed in (0, 2.5):
        create(Deciding(shard.now_ms), credits_per_run=allowed)


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "cron", "expression": "61 * * * *"},
        {"kind": "interval", "every_seconds": 0},
        {"kind": "once", "at": "2020-01-01T00:00:00Z"},
        {"kind": "sometimes"},
        {},
    ],
)
def test_br_tsk_008_a_schedule_is_valid_where_there_is_one(shard: Deciding, schedule: object) -> None:
    with pytest.raises(Refused) as refusal:
        create(shard, schedule=schedule)
    code, pointers = problem_of(refusal)
    assert code == "invalid_schedule"
    assert all(pointer.startswith("#/schedule") for pointer in pointers)
    create(shard, schedule={"kind": "cron", "expression": "*/5 * * * *"})


@pytest.mark.parametrize("tags", [[""], ["a", ""], "a", [1], [None]])
def test_br_tsk_009_tags_are_texts_that_are_not_empty(shard: Deciding, tags: object) -> None:
    with pytest.raises(Refused) as refusal:
        create(shard, tags=tags)
    code, pointers = problem_of(refusal)
    assert code == "invalid"
    assert all(pointer.startswith("#/tags") for pointer in pointers)
    create(shard, tags=["a", "b"])
    assert shard.shown().tags == ("a", "b")
