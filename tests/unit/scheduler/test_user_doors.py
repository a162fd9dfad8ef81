"""What waits for its user's leave: at which prices it can, and what a shard with many users has to look at."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_core.rules.account_rules import OPEN_TO_ALL
from gnomon_scheduler.decisions.purses import GIVE_BACK_MS, Purse
from gnomon_scheduler.decisions.queue import Item
from gnomon_scheduler.long_messages import in_messages
from gnomon_scheduler.memory import Flight, ShardMemory, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_scheduler.user_doors import NOT_HELD, WAIT, UserDoors
from gnomon_schemas.accounts import PRICE_MAX, account_id_of, micros_of
from gnomon_schemas.budgets import BudgetGrant, BudgetGrants, BudgetStatement, BudgetStatements
from gnomon_schemas.tasks import TaskSpec, Trigger

PRICE = micros_of(1)


class Clock:
    """The shard's clock, to be set."""

    def __init__(self) -> None:
        self.now_ms = 86_400_000 * 20_000


def make_doors(clock: Clock) -> UserDoors:
    """Doors of a shard without accounts and limits."""
    return UserDoors(ShardMemory(0), {}, OPEN_TO_ALL, lambda: clock.now_ms, partitions=4, epoch=1)


def make_task(user: str, price: float) -> TaskState:
    """A task of a user with a price."""
    spec = TaskSpec(name="n", task_type="echo", credits_per_run=price)
    reg = TaskRegister(
        task_id="t", user_id=user, spec=spec, version=1, revision=1, revision_from_ms=0, cursor_s=0, created_ms=0,
        updated_ms=0, fingerprint="f",
    )  # fmt: skip
    return TaskState(reg, 1)


def make_flight(**fields: Any) -> Flight:
    """An execution that is written ahead."""
    return Flight(
        run="r-1", trigger=Trigger.MANUAL, scheduled_ms=0, due_ms=0, emit_ms=0, revision=1, written=True, **fields
    )  # fmt: skip


def wait(doors: UserDoors, user: str, price: float = 1) -> tuple[TaskState, Flight]:
    """Have an execution of a user wait."""
    task, flight = make_task(user, price), make_flight()
    assert doors.hindrance(task) == WAIT
    doors.wait(Item(task, flight, user, 0, 0, "default"))
    return task, flight


def grant(doors: UserDoors, statement: BudgetStatement) -> None:
    """Give all that is wanted."""
    doors.heard.append(
        BudgetGrants(
            partition=0,
            grants=(
                BudgetGrant(
                    account=statement.account,
                    user=statement.user,
                    epoch=1,
                    n=statement.n,
                    spend=statement.spend + statement.micros_wanted,
                    day=statement.day,
                ),
            ),
        )
    )
    doors.hear()


@pytest.mark.parametrize("price", [1e13, 1e300, 1.7e308])
def test_a_price_that_no_column_holds_stops_no_shard(price: float) -> None:
    clock = Clock()
    doors = make_doors(clock)
    wait(doors, "u", price)
    [(_, statement)] = doors.statements(clock.now_ms)
    assert statement.micros_wanted == micros_of(PRICE_MAX)


def test_only_those_users_are_looked_at_of_whom_there_is_something_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    doors = make_doors(clock)
    for number in range(100):
        task, flight = wait(doors, f"u{number}")
        [(_, statement)] = doors.statements(clock.now_ms)
        grant(doors, statement)
        for item in doors.free():
            doors.take(item.task, item.flight)
        doors.release(task, flight)
        assert doors.statements(clock.now_ms) == []
        clock.now_ms += 10
    asked = Purse.next_ms
    looked: list[str] = []

    def look(purse: Purse, wanting: int) -> int | None:
        looked.append(purse.user)
        return asked(purse, wanting)

    monkeypatch.setattr(Purse, "next_ms", look)
    begun_ms = clock.now_ms
    said = []
    while (at_ms := doors.next_ms) is not None and at_ms < begun_ms + GIVE_BACK_MS * 3:
        clock.now_ms = max(clock.now_ms, at_ms)
        for _, statement in doors.statements(clock.now_ms):
            said.append(statement)
            grant(doors, statement)
        doors.statements(clock.now_ms)
    assert {statement.user for statement in said} == {f"u{number}" for number in range(100)}
    assert len(looked) < 10 * 100
    assert not doors._doors  # all is given back, and nothing is left to say


def test_users_that_refuse_by_themselves_are_forgotten_when_that_is_over() -> None:
    clock = Clock()
    doors = make_doors(clock)
    wait(doors, "u")
    [(_, statement)] = doors.statements(clock.now_ms)
    refusal = BudgetGrant(
        account=statement.account, user="u", epoch=1, n=statement.n, day=statement.day, shortage="credits"
    )
    doors.heard.append(BudgetGrants(partition=0, grants=(refusal,)))
    doors.hear()
    assert [why for _, why in doors.refused()] == ["credits"]
    assert doors.statements(clock.now_ms) == []
    for _ in range(20):
        at_ms = doors.next_ms
        if at_ms is None:
            break
        clock.now_ms = max(clock.now_ms + 1, at_ms)
        for _, statement in doors.statements(clock.now_ms):
            grant(doors, statement)
    assert not doors._doors


@pytest.mark.parametrize("user", ["\U0001f600" * 255, "\x01" * 255, "u"])
def test_words_about_many_users_fit_into_messages(user: str) -> None:
    big = 1 << 60
    word = BudgetStatement(
        account=account_id_of(user), user=user, n=big, used=big, spend=big, units=big, using=big, day=20_000,
        starts=big, idle=True, units_wanted=big, starts_wanted=big, micros_wanted=big, ahead=big, ahead_micros=big,
    )  # fmt: skip
    messages = list(
        in_messages([word] * 5000, lambda some: BudgetStatements(shard=1, epoch=1, statements=some))
    )
    assert max(len(message) for message in messages) < 1024 * 1024
    assert sum(message.count(b'"user"') for message in messages) == 5000


def test_one_that_stops_waiting_while_others_are_let_go_stops_nobody() -> None:
    """Of a task about which deciding fails all that waits is let go of, in the midst of that."""
    clock = Clock()
    doors = make_doors(clock)
    task, others = make_task("u", 1), [make_flight(), make_flight(), make_flight()]
    for number, flight in enumerate(others):
        flight.run = f"r-{number}"
        doors.wait(Item(task, flight, "u", 0, number, "default"))
    [(_, statement)] = doors.statements(clock.now_ms)
    grant(doors, statement)
    gone = []
    for item in doors.free():
        gone.append(item.flight.run)
        doors.stop_waiting(task, others[1])
    assert gone == ["r-0", "r-2"]
    assert doors.waiting == 0


def test_one_that_is_tried_again_makes_no_purse_of_a_user_whose_usage_cannot_be_read() -> None:
    """Its statement would say that nothing was used."""
    clock = Clock()
    memory = ShardMemory(0)
    doors = UserDoors(memory, {}, OPEN_TO_ALL, lambda: clock.now_ms, partitions=4, epoch=1)
    memory.usages.put_aside(account_id_of("u"))
    flight = make_flight(attempt=2)
    doors.take(make_task("u", 1), flight)
    assert (flight.price, doors.statements(clock.now_ms)) == (NOT_HELD, [])
    doors.release(make_task("u", 1), flight)
    assert doors.statements(clock.now_ms + GIVE_BACK_MS) == []
