"""Times at which something becomes due of some tasks, one time a task: a heap from which can be taken away."""

from __future__ import annotations

import heapq

__all__ = ["Timers"]


class Timers:
    """Instants in milliseconds by task id."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        """What does not agree with `_at` was left behind."""

    def set(self, task_id: str, at_ms: int | None) -> None:
        """From now on the task is due at this instant; None: not at all."""
        if at_ms is None:
            self._at.pop(task_id, None)
        elif self._at.get(task_id) != at_ms:
            self._at[task_id] = at_ms
            heapq.heappush(self._heap, (at_ms, task_id))

    def at(self, task_id: str) -> int | None:
        """When the task is due; None: it is not."""
        return self._at.get(task_id)

    def next_ms(self) -> int | None:
        """When the next task is due; None: none is."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self) -> str:
        """The task that is due next, once: to be asked where `next_ms` told an instant."""
        _, task_id = heapq.heappop(self._heap)
        del self._at[task_id]
        return task_id
