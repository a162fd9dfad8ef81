"""What users have used in a shard: each event counts once, and is folded again until it is stored."""

from __future__ import annotations

from gnomon_scheduler.budget_registers import UsageRegister
from gnomon_scheduler.memory import ShardMemory
from gnomon_scheduler.usages import Usages
from gnomon_schemas.accounts import PRICE_MAX, account_id_of, micros_of
from gnomon_schemas.codec import decode
from gnomon_schemas.events import Executed
from gnomon_schemas.subjects import usage_register
from gnomon_schemas.tasks import NULL, Trigger

DAY = "2026-11-22T"


def executed(amount: float, at: str = DAY + "09:00:00.000Z", user: str | None = "u1") -> Executed:
    """An execution that cost so much."""
    return Executed(
        task_id="t", user_id=user, partition=0, occurred_at=at, execution_id="t.r-1", run="r-1", task_type="echo",
        attempt=1, trigger=Trigger.MANUAL, scheduled_for=at, due_at=at, revision=1, status="completed", result=NULL,
        error=None, started_at=at, completed_at=at, executed_at=at, duration_ms=1, credits_consumed=amount,
        tokens_used=0, api_calls_made=0, executor="e",
    )  # fmt: skip


def never(_user: str) -> bool:
    return False


def always(_user: str) -> bool:
    return True


def test_an_event_that_is_folded_again_changes_nothing() -> None:
    usages = Usages(0)
    for seq in (5, 7, 5, 7):
        usages.fold(seq, executed(1.25), never)
    reg = usages.of("u1")
    assert reg is not None
    assert (reg.used, reg.folded) == (2_500_000, 7)


def test_what_costs_nothing_is_no_concern_unless_runs_are_counted() -> None:
    usages = Usages(0)
    assert usages.fold(1, executed(0), never) is None
    assert usages.fold(2, executed(5, user=None), always) is None
    assert usages.of("u1") is None
    reg = usages.fold(3, executed(0), always)
    assert reg is not None
    assert (reg.used, reg.runs) == (0, 1)


def test_runs_are_those_of_the_newest_day() -> None:
    usages = Usages(0)
    for seq, at in enumerate((DAY + "23:59:59.999Z", "2026-11-23T00:00:00.000Z", DAY + "10:00:00.000Z"), 1):
        usages.fold(seq, executed(1, at), always)
    reg = usages.of("u1")
    assert reg is not None
    assert (reg.used, reg.runs, reg.day) == (3_000_000, 1, 20_780)


def test_the_fold_position_waits_until_the_usage_is_stored() -> None:
    memory = ShardMemory(0)
    memory.position = 4
    memory.usages.fold(5, executed(1), never)
    memory.usages.fold(9, executed(1), never)
    memory.position = 9
    assert memory.fold_position() == 4
    subject = usage_register(0, account_id_of("u1"))
    assert memory.fold_position(others={subject}) == 9
    (unsaved,) = memory.usages.unsaved()
    assert (unsaved.subject, decode(unsaved.data, UsageRegister).used) == (subject, 2_000_000)
    memory.usages.fold(10, executed(1), never)
    unsaved.stored(77)
    # What was stored lacks the event at 10.
    assert memory.fold_position() == 4
    (unsaved,) = memory.usages.unsaved()
    unsaved.stored(78)
    assert memory.fold_position() == 9
    assert list(memory.usages.unsaved()) == []


def test_an_older_register_is_ignored() -> None:
    usages = Usages(0)
    usages.apply(8, UsageRegister(account="dTE", user="u1", used=5, folded=7))
    usages.apply(6, UsageRegister(account="dTE", user="u1", used=3, folded=5))
    reg = usages.of("u1")
    assert reg is not None
    assert reg.used == 5
    assert [one.user for one in usages.untold()] == ["u1"]
    assert usages.note_told("u1", 5)
    assert not usages.note_told("u1", 5)
    assert usages.untold() == []


def test_what_a_handler_makes_up_is_counted_up_to_the_most_that_an_execution_costs() -> None:
    usages = Usages(0)
    for seq in (1, 2):
        usages.fold(seq, executed(1.7e308), never)
    reg = usages.of("u1")
    assert reg is not None
    assert reg.used == 2 * micros_of(PRICE_MAX)
