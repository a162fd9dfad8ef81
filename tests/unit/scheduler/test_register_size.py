"""However much waits of a task: its register fits into a message, with a wish to end each of it."""

from __future__ import annotations

import pytest

from gnomon_scheduler.decisions.catching_up import catch_up, waiting_flight
from gnomon_scheduler.decisions.overlapping import has_room
from gnomon_scheduler.memory import Flight, Slot
from gnomon_scheduler.registers import Backfilling, Cancelling
from gnomon_schemas.codec import encode
from gnomon_schemas.limits import CONFIG_MAX, ENTRIES_PER_TASK, METADATA_MAX
from gnomon_schemas.tasks import Trigger
from tests.unit.scheduler.making import NOW_S, task_state

MESSAGE_MAX = 1024 * 1024
NOW_MS = NOW_S * 1000
ID = "i" * 64


@pytest.mark.parametrize("late_first", [True, False])
def test_a_register_with_everything_at_its_limit_fits_into_a_message(late_first: bool) -> None:
    """The largest config, lists of backfills, a whole backlog, and as many runs as may wait; then all is cancelled."""
    task = task_state(
        ID,
        overlap="allow",
        config={"c": "x" * (CONFIG_MAX - 64)},
        metadata={"m": "y" * (METADATA_MAX - 64)},
        catch_up={"policy": "all", "limit": 1000, "grace_seconds": 9999},
    )
    listed = Backfilling(
        backfill_id=ID, from_s=NOW_S, to_s=NOW_S, cursor_s=NOW_S, total=1000, left=1000, slots=(NOW_S,) * 1000
    )
    task.reg = type(task.reg)(
        **{name: getattr(task.reg, name) for name in task.reg.__struct_fields__}
        | {"backfills": (listed,) * 10}
    )

    def late() -> None:
        first = Slot(task, NOW_S + 1, NOW_MS + 1000)
        for slot in catch_up(first, NOW_MS + 5_000_000, partition=0, handled=()).runs:
            flight = waiting_flight(slot)
            flight.late_ms, flight.queued, flight.gated = NOW_MS, True, True
            task.take_off(flight)

    def runs() -> None:
        for number in range(ENTRIES_PER_TASK):
            if not has_room(task):
                return
            task.take_off(
                Flight(
                    run=f"r-{number:064d}",
                    trigger=Trigger.RETRY,
                    scheduled_ms=NOW_MS,
                    due_ms=NOW_MS,
                    emit_ms=NOW_MS,
                    revision=99,
                    written=True,
                    queued=True,
                    gated=True,
                    has_input=True,
                    expires_ms=NOW_MS,
                    retry_of=f"{ID}.r-{ID}",
                    traceparent="t" * 55,
                )
            )

    for fill in (late, runs) if late_first else (runs, late):
        fill()
    for run in task.flights:
        task.wish(Cancelling(run=run, reason="cancelled", deadline_ms=NOW_MS, command_id=ID))
    assert len(task.flights) > 500
    assert len(encode(task.stored_form())) < MESSAGE_MAX - 50_000
