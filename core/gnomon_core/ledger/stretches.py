"""When which schedule of a task was in force.

Terms. A *mark* is an instant at which something of a task changed that decides its slots: its schedule, whether it is
paused, whether it is over. A *stretch* is the time between two marks, (after, until]: within it the slots are a pure
function of the schedule. A slot whose nominal time is the very second of a mark belongs to the stretch before it, as
the shard has it: a change counts for slots after the second in which it was decided.

Marks come from the task's own events (created, updated, status_changed, deleted), never from what was emitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from gnomon_core.timing import count_fires, fires
from gnomon_schemas.schedules import Schedule

__all__ = ["ENDLESS_MS", "Mark", "State", "Stretch", "stretches"]

ENDLESS_MS: Final = 1 << 62
"""The end of a stretch that lasts."""


class State(StrEnum):
    """What a task does with its slots."""

    ACTIVE = "active"
    PAUSED = "paused"
    """Its slots are slots, and will be recorded as skipped when the pause ends."""
    OVER = "over"
    """Ended or deleted: it has no slots."""


class Mark(NamedTuple):
    """From `at_ms` (epoch milliseconds) on, this holds."""

    at_ms: int
    state: State
    revision: int
    schedule: Schedule | None


class Stretch(NamedTuple):
    """A time in which one schedule was in force: (after_ms, until_ms], epoch milliseconds."""

    after_ms: int
    until_ms: int
    state: State
    revision: int
    schedule: Schedule

    @property
    def lasts(self) -> bool:
        """Whether nothing has ended it yet."""
        return self.until_ms == ENDLESS_MS

    def slots(self, since_s: int, until_s: int) -> Iterator[int]:
        """Nominal times in it and in [since_s, until_s), seconds since 1970, in order."""
        after_s, last_s = self.bounds(since_s, until_s)
        return fires(self.schedule, after_s, last_s) if last_s > after_s else iter(())

    def how_many(self, since_s: int, until_s: int) -> int:
        """How many those are, without walking over them."""
        after_s, last_s = self.bounds(since_s, until_s)
        return count_fires(self.schedule, after_s, last_s) if last_s > after_s else 0

    def bounds(self, since_s: int, until_s: int) -> tuple[int, int]:
        """(after, last] of what lies in it and in [since_s, until_s)."""
        return max(self.after_ms // 1000, since_s - 1), min(self.until_ms // 1000, until_s - 1)


def stretches(marks: Iterable[Mark]) -> list[Stretch]:
    """The stretches between marks, which are in the order in which they were stored.

    Two marks in one instant leave nothing between them. Stretches without a schedule, or in which the task is over,
    have no slots and are left out.
    """
    ordered = list(marks)
    ends = [*(mark.at_ms for mark in ordered), ENDLESS_MS][1:]
    return [
        Stretch(mark.at_ms, end_ms, mark.state, mark.revision, mark.schedule)
        for mark, end_ms in zip(ordered, ends, strict=True)
        if mark.schedule is not None and mark.state is not State.OVER and end_ms > mark.at_ms
    ]
