"""The late slots of a shard that are to run and were not handed out yet: when each may go.

`decisions.catching_up` chose them and they are in their tasks' registers. Live work goes first; then these, the oldest
first, at a bounded rate: a shard has its share of the cluster-wide rate as tokens, at most a second's worth of them,
and a new leader begins with none.

**Held.** Where more wait than an operator allowed to go by themselves, none of them goes until it is approved or
discarded. That is looked at only when the whole backlog is decided (the caller asks for nothing before), or the first
few of many would slip through. An order is an instant in the shard's register: it holds for what was decided up to
then, so every leader finds the same ones approved, and a backlog that comes later is a question of its own.

What is counted in here may have ended otherwise (its task was paused, cancelled, deleted). So all of it is looked
through now and then, once a second while it is not much, and a number that is no more holds nothing back. No step takes
longer for more that waits: it is looked through, and put among what is held, some thousands at a time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from gnomon_scheduler.memory import Flight
from gnomon_scheduler.registers import CatchUpOrder

__all__ = ["LateKey", "LateRuns"]

_LOOK_AGAIN_MS = 1000
_LOOKED_AT_A_MS = 50
"""Looking through more than so many a millisecond, in the long run, would be felt."""
_AT_ONCE = 2000
"""So many are looked at in one step."""


class LateKey(NamedTuple):
    """An execution by task and run."""

    task_id: str
    run: str


class LateRuns:
    """The backlog of one shard under one leader. No clock in here: every instant is the caller's."""

    def __init__(
        self,
        find: Callable[[str, str], Flight | None],
        order: CatchUpOrder,
        *,
        rate: float,
        hold_above: float,
    ) -> None:
        """`rate`: how many may go a second, 0 for as many as there are. `hold_above`: more than so many are held, 0
        for never. `find` looks an execution up in the memory."""
        self._find, self._order = find, order
        self._rate, self._hold_above = rate, hold_above
        self._known: dict[LateKey, int] = {}
        """Everything that waits, with the instant at which it was found late."""
        self._unapproved = 0
        self._eager: list[tuple[int, LateKey]] = []
        """Heap of those that want to go, by the time that they were due."""
        self._in_eager: set[LateKey] = set()
        self._held_back: list[tuple[int, LateKey]] = []
        """Those of them that were looked at and are held, the oldest first."""
        self._coming_back: deque[tuple[int, LateKey]] = deque()
        """Those that are held no more: they come back some at a time, the oldest first."""
        self._discarded: list[LateKey] = []
        self._tokens, self._tokens_at_ms = 0.0, 0
        self._looked_at_ms = 0
        self._to_look_at: deque[LateKey] = deque()
        """What is left of the present look through all of it."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._known)

    @property
    def held(self) -> int:
        """How many of them are held until they are approved or discarded."""
        return self._unapproved if 0 < self._hold_above < self._unapproved else 0

    def add(self, task_id: str, flight: Flight) -> None:
        """A late execution that is in a register wants to go: for the first time, or again."""
        key = LateKey(task_id, flight.run)
        if key not in self._known:
            self._known[key] = flight.late_ms
            self._unapproved += flight.late_ms > self._order.approved_ms
            if flight.late_ms <= self._order.discarded_ms:
                self._discarded.append(key)
        if flight.late_ms > self._order.discarded_ms and key not in self._in_eager:
            self._in_eager.add(key)
            heapq.heappush(self._eager, (flight.emit_ms, key))

    def obey(self, order: CatchUpOrder) -> None:
        """An operator's order was stored."""
        if order.discarded_ms > self._order.discarded_ms:
            self._discarded += [
                key
                for key, late_ms in self._known.items()
                if self._order.discarded_ms < late_ms <= order.discarded_ms
            ]
        self._order = order
        self._count()

    def take(self, now_ms: int) -> LateKey | None:
        """The next that may go now; None: none may. What does not go after all is to be added again."""
        self._refill(now_ms)
        for _ in range(_AT_ONCE):
            if not self._eager or (self._rate and self._tokens < 1):
                return None
            at_ms, key = heapq.heappop(self._eager)
            late_ms = self._known.get(key, 0)
            if self.held and late_ms > self._order.approved_ms:
                self._held_back.append((at_ms, key))
                continue
            self._in_eager.discard(key)
            if late_ms > self._order.discarded_ms:
                return key
        return None

    def take_discarded(self) -> LateKey | None:
        """The next of those that were discarded; None: there is none."""
        while self._discarded:
            key = self._discarded.pop()
            if key in self._known:
                return key
        return None

    def let_go(self) -> None:
        """One that was taken goes: its due is published, or it waits for nothing but its pool or key."""
        self._tokens = max(0.0, self._tokens - 1)

    def over(self, key: LateKey) -> None:
        """It does not wait any more."""
        late_ms = self._known.pop(key, None)
        self._unapproved -= late_ms is not None and late_ms > self._order.approved_ms

    def next_ms(self, now_ms: int) -> int | None:
        """When something may go that may not now; None: nothing but what happens elsewhere changes that."""
        if self._discarded or self._to_look_at or self._coming_back:
            return now_ms
        if self._eager:
            missing = 1 - self._tokens if self._rate else 0
            pause_ms = int(missing / self._rate * 1000) + 1 if missing > 0 else 0
            return max(now_ms, self._tokens_at_ms) + pause_ms
        return self._look_again_ms if self._known else None

    @property
    def _look_again_ms(self) -> int:
        return self._looked_at_ms + max(_LOOK_AGAIN_MS, len(self._known) // _LOOKED_AT_A_MS)

    def _refill(self, now_ms: int) -> None:
        """A second's worth of tokens at the most, so that nothing is saved up for a flood; one in any case, so that
        a small rate comes to a whole one."""
        if not self._tokens_at_ms:
            self._tokens_at_ms = now_ms
        passed_ms, self._tokens_at_ms = max(0, now_ms - self._tokens_at_ms), now_ms
        self._tokens = min(max(1.0, self._rate), self._tokens + passed_ms / 1000 * self._rate)

    def look(self, now_ms: int) -> None:
        """Forget what has ended otherwise, and let go what is held no more: in every turn, before `take`."""
        self._come_back()
        if not self._to_look_at:
            if not self._known or now_ms < self._look_again_ms:
                return
            self._looked_at_ms = now_ms
            self._to_look_at.extend(self._known)
        for _ in range(min(_AT_ONCE, len(self._to_look_at))):
            key = self._to_look_at.popleft()
            if not self._waits(key):
                self.over(key)
        if not self._to_look_at and not self.held:
            self._let_go()

    def _waits(self, key: LateKey) -> bool:
        flight = self._find(*key)
        return flight is not None and flight.waits_late

    def _count(self) -> None:
        self._unapproved = sum(late_ms > self._order.approved_ms for late_ms in self._known.values())
        self._let_go()

    def _let_go(self) -> None:
        self._coming_back.extend(self._held_back)
        self._held_back.clear()
        self._come_back()

    def _come_back(self) -> None:
        for _ in range(min(_AT_ONCE, len(self._coming_back))):
            heapq.heappush(self._eager, self._coming_back.popleft())
