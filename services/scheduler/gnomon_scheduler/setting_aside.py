"""Setting tasks aside: one about which deciding fails stops, and its shard goes on with all others.

Terms. *Poison* is what makes a step of the turn fail that is about one task: a register of another version, an event
that says what no event should, a fault in a rule that only this task meets. Left alone it would end the shard, and
then its next leader, for ever. A task is *set aside* when that happens, or when its register cannot be read at all: it
leaves the memory, nothing more is decided about it, commands to it are refused as `unreadable_state` (but for one that
deletes it), and its register stays in the log as it was stored last.

**Nothing is lost by it.** What a later leader needs in order to go on is in the shard register, in the very batch
whose watermark passes the task by: up to when its slots were handed out (`Aside.since_ms`), and from which sequence on
its events are not all in its register, or are needed (`Aside.from_seq`). The janitor keeps the log from there on. Every
new leader tries again: it folds the task's events from there, and plans its slots from there; they are late by then,
and its catch-up policy decides about them. If the task fails again it is set aside again, from the same instant. The
entry goes with the batch that stores the first watermark at which all of that is done, as the fold position does. So a
leader that dies before leaves everything as it was.

**The way out**, where no leader ever succeeds, is to delete the task: `giving_up`.

**What is out stays out.** What an executor runs of it goes on, and its result is stored: nobody folds it here, but
what it held of pools, keys and credits is free when it has ended.

What fails for another reason than one task (the broker's answers, a leader after this one) is not caught here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

import structlog

from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.commit import Deposed
from gnomon_scheduler.memory import ShardMemory, TaskState
from gnomon_scheduler.registers import Aside, TaskRegister

__all__ = ["SetAside"]

_log = structlog.get_logger(__name__)
_KEPT_MAX = 1000
"""So many entries a shard register holds: it is written with every batch."""


class SetAside:
    """The tasks of one shard that are set aside, under one leader."""

    def __init__(
        self, memory: ShardMemory, found: Mapping[str, Aside], watermark_ms: int, fold_position: int
    ) -> None:
        """`found`: what the shard register told at the take-over, with its watermark and fold position."""
        self._memory = memory
        self.watermark_ms = watermark_ms
        """Up to when the slots of every task were handed out before the present turn. Kept by the book."""
        self.on_set: Callable[[TaskState], None] = lambda _: None
        """Told of a task that was set aside, to let go of what it has in flight. Set by the shard."""
        self._unfolded: int | None = fold_position + 1
        """Until this leader has caught up: from here on events may not be folded yet, although the log was followed
        further, and they tell what a predecessor handed out after the watermark. None: it has."""
        self._entries = {
            task_id: entry
            for task_id, entry in found.items()
            if task_id in memory.unreadable
            or (task_id in memory.tasks and not _given_up(memory.tasks[task_id].reg, entry))
        }
        for task_id in memory.unreadable:
            self._keep(task_id, Aside(watermark_ms, fold_position + 1))
        self.resumed = {task_id: entry for task_id, entry in self._entries.items() if task_id in memory.tasks}
        """Those that this leader tries again, until it is done with what they missed."""

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._memory.unreadable

    def task(self, task_id: str, doing: str) -> _Guard:
        """Around a step that is about one task: where it fails, the task is set aside and nothing is raised."""
        return _Guard(self, task_id, doing)

    def takes(self, task_id: str, doing: str, error: Exception) -> bool:
        """The same for an exception that was caught: False where it is not about the task, and is to be raised again.

        Where a step is taken for every slot and event: a guard costs a microsecond.
        """
        if isinstance(error, Deposed | BusError):
            return False
        self.set(task_id, doing, error)
        return True

    def entries(self, *, caught_up: bool) -> dict[str, Aside]:
        """What the shard register is to say. `caught_up`: whatever was tried again is done with that batch."""
        if not caught_up:
            return self._entries
        return {
            task_id: entry
            for task_id, entry in self._entries.items()
            if task_id not in self.resumed or task_id in self
        }

    def caught_up(self) -> None:
        """A batch with the entries of `caught_up` is stored."""
        self._unfolded = None
        if self.resumed:
            self._entries = self.entries(caught_up=True)
            self.resumed = {}

    def entry(self, task_id: str) -> Aside | None:
        """Since when a task is set aside, as it is kept; None: it is not, or that is not kept of it."""
        return self._entries.get(task_id)

    def gave_up(self, task_id: str) -> None:
        """The tombstone is stored of a task that was set aside: see `giving_up`."""
        self._entries.pop(task_id, None)
        self.resumed.pop(task_id, None)

    def oldest(self) -> int | None:
        """No event of theirs below this sequence is needed; None: none is set aside."""
        return min((entry.from_seq for entry in self._entries.values()), default=None)

    def set(self, task_id: str, doing: str, error: Exception) -> None:
        """Set a task aside."""
        memory = self._memory
        task = memory.tasks.get(task_id)
        _log.error(
            LogEvent.TASK_SET_ASIDE,
            partition=memory.partition,
            task_id=task_id,
            doing=doing,
            error=repr(error),
            exc_info=error,
        )
        if task is None:
            return
        needed = [flight.first_seq for flight in task.flights.values() if flight.first_seq]
        if self._unfolded is not None:
            needed.append(self._unfolded)
        from_seq = min([task.dirty_from or memory.position + 1, *needed])
        # Some slots after the watermark may have been handed out in this very turn: their events come from there on.
        self._keep(task_id, Aside(self.watermark_ms, from_seq))
        memory.set_aside(task_id, task.seq)
        self.on_set(task)

    def found_failing(self) -> None:
        """Set those aside whose next slot could not be reckoned."""
        failing = self._memory.failing
        while failing:
            task_id, error = failing.popitem()
            self.set(task_id, "reckoning its next slot", error)

    def _keep(self, task_id: str, entry: Aside) -> None:
        known = self._entries.get(task_id)
        if known is not None:
            entry = Aside(min(known.since_ms, entry.since_ms), min(known.from_seq, entry.from_seq))
        elif len(self._entries) >= _KEPT_MAX:
            # Its slots are missing from the ledger then, and an audit finds them.
            _log.error(
                LogEvent.TASK_SET_ASIDE, task_id=task_id, partition=self._memory.partition, kept=_KEPT_MAX
            )
            return
        self._entries[task_id] = entry


def _given_up(reg: TaskRegister, entry: Aside) -> bool:
    """Whether a task was deleted while it was set aside: nothing of before is to be looked at again."""
    return reg.deleted_ms is not None and reg.runtime.folded >= entry.from_seq


class _Guard:
    """See `SetAside.task`."""

    __slots__ = ("_aside", "_doing", "_task_id")

    def __init__(self, aside: SetAside, task_id: str, doing: str) -> None:
        self._aside, self._task_id, self._doing = aside, task_id, doing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return isinstance(error, Exception) and self._aside.takes(self._task_id, self._doing, error)
