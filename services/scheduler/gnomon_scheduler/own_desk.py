"""The desk for own changes: what a shard changes of its tasks without a command. See `decisions.own_changes`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, MutableMapping

from gnomon_core.timing import next_fire
from gnomon_scheduler.applying import Applier, closing_instant
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.backfilling import go_on
from gnomon_scheduler.decisions.command import Surroundings
from gnomon_scheduler.decisions.own_changes import OwnChange, end_pause, pause_after_failures
from gnomon_scheduler.decisions.reminding import remind
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import fails_too_often
from gnomon_scheduler.units import Unit

__all__ = ["OwnDesk"]

_CHANGES_A_TURN = 300
_BYTES_A_TURN = 3 * 1024 * 1024


class OwnDesk:
    """Decides the own changes of one shard. To be used inside a turn, or before the first one."""

    def __init__(
        self,
        book: Book,
        applier: Applier,
        surroundings: Callable[[int], Surroundings],
    ) -> None:
        self._book, self._applier, self._surroundings = book, applier, surroundings
        self._proposed: deque[tuple[str, OwnChange]] = deque()
        self._since_ms = book.watermark_ms
        """Up to there some leader before this one has seen to everything."""

    @property
    def waiting(self) -> bool:
        """Whether a change is proposed and not decided."""
        return bool(self._proposed)

    @property
    def next_ms(self) -> int | None:
        """When a task resumes by itself, or is to be told of, next; None: none."""
        memory = self._book.memory
        times = [
            at_ms for at_ms in (memory.next_pause_end_ms(), memory.next_reminder_ms()) if at_ms is not None
        ]
        return min(times, default=None)

    def propose(self, task: TaskState, change: OwnChange) -> None:
        """Have a change decided after the slots of the next turn; it finds out itself whether it is still due."""
        self._proposed.append((task.task_id, change))

    def look_at(self, task: TaskState) -> None:
        """Something of the task was folded or changed: propose what its register asks for."""
        if fails_too_often(task.reg):
            self.propose(task, pause_after_failures)
        if task.reg.backfills:
            self.propose(task, go_on)

    def pause_failing(self, now_ms: int, ahead: Mapping[str, int]) -> list[Unit]:
        """Pause the tasks that have failed as often as they may, before their next slot is handed out.

        Where it is not certain which slot that is, the pause is decided after the slots, as every other own change.
        """
        units: list[Unit] = []
        for task_id in [task_id for task_id, change in self._proposed if change is pause_after_failures]:
            task = self._book.memory.tasks.get(task_id)
            if task is None or not fails_too_often(task.reg):
                continue
            with self._book.aside.task(task_id, "pausing it"):
                at_ms = self._before_next_slot(task, now_ms, ahead.get(task_id, 0))
                decision = None
                if at_ms is not None:
                    decision = pause_after_failures(task, [], self._surroundings(at_ms))
                if decision is not None:
                    units.append(self._applier.apply(task, decision))
            if len(units) >= _CHANGES_A_TURN:
                break
        return units

    def _before_next_slot(self, task: TaskState, now_ms: int, ahead_ms: int) -> int | None:
        """An instant up to which every slot of a task, and none after it, was handed out; None: it cannot be told.

        With jitter slots do not come due in their order. Of a leader that died it may have been a later slot that it
        handed out, and not one before.
        """
        memory, schedule, reg = self._book.memory, task.reg.spec.schedule, task.reg
        if schedule is None:
            return max(now_ms, reg.revision_from_ms)
        if schedule.jitter_seconds or task.task_id in memory.resumed:
            return None
        handled = memory.handled.get(task.task_id, ())
        nominal = next_fire(schedule, max(reg.cursor_s, self._book.watermark_ms // 1000, ahead_ms // 1000))
        while nominal is not None and nominal in handled:
            nominal = next_fire(schedule, nominal)
        at_ms = now_ms if nominal is None else min(now_ms, nominal * 1000 - 1)
        if at_ms < reg.revision_from_ms or any(slot * 1000 > at_ms for slot in handled):
            return None
        return at_ms

    def end_pauses(self, now_ms: int, ahead: MutableMapping[str, int]) -> tuple[list[Unit], int]:
        """End the pauses that last until `now_ms` at the latest, before any slot after them is handed out.

        Returns the units to store, and up to when all pauses were ended: slots may be handed out until then. `ahead`
        is told of every task that is ahead of the turn thereby.
        """
        memory = self._book.memory
        units: list[Unit] = []
        size = 0
        while (until_ms := memory.next_pause_end_ms()) is not None and until_ms <= now_ms:
            if len(units) >= _CHANGES_A_TURN or size >= _BYTES_A_TURN:
                return units, until_ms - 1
            task = memory.pop_pause_end()
            if task is None:
                continue
            ahead[task.task_id] = until_ms
            with self._book.aside.task(task.task_id, "ending its pause"):
                decision = end_pause(task, [], self._surroundings(until_ms - 1))
                if decision is not None:
                    units.append(self._applier.apply(task, decision))
                    size += units[-1].size
        return units, now_ms

    def remind(self, now_ms: int) -> tuple[list[Unit], int]:
        """Tell the reminders that are due at `now_ms`.

        Returns the units to store, and up to when all reminders were told: the watermark may go there, by which a
        reminder is known to be over that a register of an older version does not tell of.
        """
        memory = self._book.memory
        units: list[Unit] = []
        size = 0
        while (at_ms := memory.next_reminder_ms()) is not None and at_ms <= now_ms:
            if len(units) >= _CHANGES_A_TURN or size >= _BYTES_A_TURN:
                return units, max(self._book.watermark_ms, at_ms - 1)
            task = memory.pop_reminder()
            if task is None or (task.reg.reminder_ms is None and at_ms <= self._since_ms):
                continue
            with self._book.aside.task(task.task_id, "telling its reminder"):
                decision = remind(task, [], self._surroundings(now_ms))
                if decision is not None:
                    units.append(self._applier.apply(task, decision))
                    size += units[-1].size
        return units, now_ms

    def decide(self, until_ms: int, ahead: Mapping[str, int]) -> list[Unit]:
        """Decide what is proposed, each at the instant at which a command to its task would be decided.

        All slots up to `until_ms` were handed out, of the tasks in `ahead` up to the instant given there.
        """
        units: list[Unit] = []
        size = 0
        while self._proposed and len(units) < _CHANGES_A_TURN and size < _BYTES_A_TURN:
            task_id, change = self._proposed.popleft()
            task = self._book.memory.tasks.get(task_id)
            if task is None or task.reg.deleted_ms is not None:
                continue
            with self._book.aside.task(task_id, "changing it of its own accord"):
                now_ms = closing_instant(task, until_ms, ahead)
                waiting = self._book.memory.waiting_for_jitter(task, now_ms)
                decision = change(task, waiting, self._surroundings(now_ms))
                if decision is not None:
                    units.append(self._applier.apply(task, decision))
                    size += units[-1].size
                    # There may be more of it than fits into one batch.
                    self.look_at(task)
        return units
