"""Who goes first of the executions that wait for one pool, or for one key, in one shard. Pure.

Priority first, then the user with the fewest in flight, then age. Every `AGING_STRIDE`-th pick is the oldest instead,
so that low work gets its share and whoever waits is served in the end. A user who has as much out as one may (`most`)
is passed over until something of it has ended.

Per user and priority there is a heap by age. Two heaps over these hold their heads: by merit, and by age. A head that
has changed is pushed again, and what it leaves behind is dropped when met.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from gnomon_scheduler.decisions.gates import AGING_STRIDE
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.gates import FIRST_MAX, Waiter

__all__ = ["Item", "Queue"]

_MERIT_LOOK = 4 * FIRST_MAX


@dataclass(slots=True, eq=False)
class Item:
    """One execution that waits."""

    task: TaskState
    flight: Flight
    user: str | None
    rank: int
    """Of its priority; 0 is urgent."""
    since_ms: int
    pool: str
    gone: bool = False
    """It waits no more: to be dropped when met."""


@dataclass(slots=True)
class _User:
    """What waits of one user."""

    lines: dict[int, list[tuple[int, int, Item]]] = field(default_factory=dict)
    """By rank: a heap by age."""
    waiting: int = 0
    counted: int = 0
    """How many of these count as able to go."""
    stamp: int = 0


class Queue:
    """What waits for one gate, or behind the share of its users, in one shard."""

    def __init__(self, load: Callable[[str | None], int], most: Callable[[str | None], int | None]) -> None:
        """`load`: what a user has in flight; `most`: how much that may be, None: any number."""
        self._load, self._most = load, most
        self._users: dict[str | None, _User] = {}
        self._by_merit: list[tuple[int, int, int, int, str | None]] = []
        self._by_age: list[tuple[int, int, int, str | None]] = []
        self._numbers = count(1)
        self._picks = 0
        self.waiting = 0
        """How many wait."""
        self.wanting = 0
        """How many of these could go if there were units for them."""

    def add(self, item: Item) -> None:
        """It waits from now on."""
        user = self._users.setdefault(item.user, _User())
        line = user.lines.setdefault(item.rank, [])
        heapq.heappush(line, (item.since_ms, next(self._numbers), item))
        user.waiting += 1
        self.waiting += 1
        self.refresh(item.user)

    def remove(self, item: Item) -> None:
        """It waits no more."""
        if item.gone:
            return
        item.gone = True
        user = self._users[item.user]
        user.waiting -= 1
        self.waiting -= 1
        self.refresh(item.user)

    def refresh(self, name: str | None) -> None:
        """What a user has in flight, or waiting, has changed."""
        user = self._users.get(name)
        if user is None:
            return
        most = self._most(name)
        load = self._load(name)
        able = user.waiting if most is None else min(user.waiting, max(0, most - load))
        self.wanting += able - user.counted
        user.counted = able
        if not user.waiting:
            del self._users[name]
            return
        user.stamp = next(self._numbers)
        if not able:
            return
        oldest = None
        for rank, line in user.lines.items():
            while line and line[0][2].gone:
                heapq.heappop(line)
            if line:
                since_ms = line[0][0]
                heapq.heappush(self._by_merit, (rank, load, since_ms, user.stamp, name))
                oldest = since_ms if oldest is None else min(oldest, since_ms)
        if oldest is not None:
            heapq.heappush(self._by_age, (oldest, user.stamp, 0, name))
        self._trim()

    def refresh_all(self) -> None:
        """How much users may have in flight has changed."""
        for name in list(self._users):
            self.refresh(name)

    def pick(self) -> Item | None:
        """Take out the one that goes next; None: nobody can."""
        if not self.wanting:
            return None
        self._picks += 1
        item = self._oldest_item() if self._picks % AGING_STRIDE == 0 else self._best_item()
        if item is not None:
            self.remove(item)
        return item

    def first(self) -> tuple[Waiter, ...]:
        """The first that would go: what a statement tells of them."""
        self._clean()
        seen = heapq.nsmallest(FIRST_MAX, filter(self._holds, self._by_merit[:_MERIT_LOOK]))
        return tuple(Waiter(rank, load, since_ms) for rank, load, since_ms, _, _ in seen)

    @property
    def oldest_ms(self) -> int:
        """Since when the one waits that has waited longest of those that could go; 0: nobody could."""
        self._clean()
        return self._by_age[0][0] if self._by_age else 0

    def _best_item(self) -> Item | None:
        self._clean()
        if not self._by_merit:
            return None
        rank, _, _, _, name = self._by_merit[0]
        return self._users[name].lines[rank][0][2]

    def _oldest_item(self) -> Item | None:
        self._clean()
        if not self._by_age:
            return None
        user = self._users[self._by_age[0][3]]
        return min(line[0] for line in user.lines.values() if line)[2]

    def _clean(self) -> None:
        """Drop heads that were left behind."""
        while self._by_merit and not self._holds(self._by_merit[0]):
            heapq.heappop(self._by_merit)
        while self._by_age and not self._is_current(self._by_age[0][3], self._by_age[0][1]):
            heapq.heappop(self._by_age)

    def _trim(self) -> None:
        """Heads that were left behind must not outgrow those that count."""
        most = 64 + 8 * len(self._users)
        if len(self._by_merit) > 4 * most:
            self._by_merit = [head for head in self._by_merit if self._holds(head)]
            heapq.heapify(self._by_merit)
        if len(self._by_age) > most:
            self._by_age = [head for head in self._by_age if self._is_current(head[3], head[1])]
            heapq.heapify(self._by_age)

    def _holds(self, head: tuple[int, int, int, int, str | None]) -> bool:
        return self._is_current(head[4], head[3])

    def _is_current(self, name: str | None, stamp: int) -> bool:
        user = self._users.get(name)
        return user is not None and user.stamp == stamp
