"""Admission: which executions of a shard may be handed out now, as far as pools, keys and fair share go. ADR 0016.

An execution needs, in this order: its user's leave, where it costs credits or the user has limits (`user_doors`); a
unit of its key, where its task has a key or a rate; room in its user's share of the pool; a unit of the pool, where
that has a gate. What it cannot have it waits for, in the queue of that *door*; by then it has been written ahead. Most
executions need nothing of it, and pass at the cost of a look at a dictionary.

A door about which deciding fails is *shut* until another leader tries again: what waits there waits.

`Flight.pool` says that an execution is out, counted in that pool, and `Flight.key` that it holds a unit of that key;
whoever ends an attempt calls `release`.
"""

from __future__ import annotations

from base64 import b32encode
from collections import deque
from collections.abc import Callable, Container
from hashlib import blake2b
from itertools import count
from math import ceil

import structlog

from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.decisions.gates import strictest
from gnomon_scheduler.decisions.leave import Leave
from gnomon_scheduler.decisions.queue import Item, Queue
from gnomon_scheduler.dues import priority_of
from gnomon_scheduler.guard import Guard
from gnomon_scheduler.memory import Flight, ShardMemory, TaskState
from gnomon_scheduler.pool_catalogue import PoolCatalogue
from gnomon_scheduler.type_catalogue import TypeCatalogue
from gnomon_scheduler.user_doors import NOT_HELD, WAIT, UserDoors
from gnomon_schemas.gates import GateKind, Grants, Statement
from gnomon_schemas.subjects import PRIORITIES, partition_of
from gnomon_schemas.tasks import Overlap, TaskSpec, Trigger

__all__ = ["Admission", "key_of"]

_log = structlog.get_logger(__name__)
_LEAST_SHARE = 2
_RANKS = {priority: rank for rank, priority in enumerate(PRIORITIES)}
_RANK_OF_LATE = len(PRIORITIES)


def key_of(task_id: str, spec: TaskSpec, alone: Container[str] = ()) -> str | None:
    """The gate of a task's key; None: it has neither key nor rate. A rate without a key is the task's own.

    `alone`: types that run one at a time. Their tasks share a key, which no key of a caller's can be.
    """
    if spec.concurrency_key is not None:
        text = f"key:{spec.concurrency_key}"
    elif spec.rate_limit is not None:
        text = f"task:{task_id}"
    elif spec.task_type in alone:
        text = f"type:{spec.task_type}"
    else:
        return None
    return b32encode(blake2b(text.encode(), digest_size=20).digest()).decode().lower()


class _Door:
    """What waits for one pool or key here, and what this shard may use of its gate."""

    __slots__ = ("busy", "gate", "kind", "leave", "members", "queue", "shut", "version")

    def __init__(self, kind: GateKind, gate: str, queue: Queue, leave: Leave | None) -> None:
        self.kind, self.gate = kind, gate
        self.queue, self.leave = queue, leave
        self.version = 0
        """Of the pool's settings."""
        self.members: dict[tuple[str, str], TaskState] = {}
        """Of a key: the executions that wait for it or hold a unit."""
        self.busy = False
        """Of a key: the gate has said that as many are in flight as may be."""
        self.shut = False
        """Deciding about it has failed: nobody passes."""


class Admission:
    """Pools, keys and shares of one shard, under one leader. To be used inside a turn."""

    def __init__(
        self,
        memory: ShardMemory,
        types: TypeCatalogue,
        pools: PoolCatalogue,
        users: UserDoors,
        *,
        partitions: int,
        epoch: int,
    ) -> None:
        self._memory, self._types, self._catalogue = memory, types, pools
        self._users = users
        self._partitions, self._epoch = partitions, epoch
        self.heard: deque[Grants] = deque()
        """What gates said, to be taken in the next turn."""
        self._out: dict[tuple[str, str | None], int] = {}
        """Attempts that are out, by pool and user. Of tasks without a user only where a pool has a door."""
        self._most: dict[str, int] = {}
        self._pools: dict[str, _Door] = {}
        self._keys: dict[str, _Door] = {}
        self._waiting: dict[tuple[str, str], tuple[_Door, Item]] = {}
        self._stirred: set[_Door] = set()
        self._refused: list[tuple[Item, str]] = []
        """What was refused at once, to be told with the next of `turned_away`."""
        self._due_ms: int | None = None
        self._numbers = count(1)

    # -- at the take-over, and when the surroundings change -------------------------------------------

    def begin(self) -> None:
        """Count what a predecessor handed out."""
        for task in self._memory.in_flight.values():
            for flight in task.flights.values():
                if flight.emitted and flight.pool is not None:
                    self._count_out(flight.pool, task.reg.user_id)
                if flight.emitted and flight.key is not None:
                    door = self._key_door(flight.key)
                    flight.begun = flight.started
                    door.members[task.task_id, flight.run] = task
                    self._leave(door).take(started=flight.begun)
                    self._leave(door).ask()
                    self._stirred.add(door)
        self._users.begin()
        self.pools_changed()

    def pools_changed(self) -> None:
        """Something was set of a pool."""
        limited = self._catalogue.limited
        for name, settings in limited.items():
            door = self._pools.get(name)
            if door is None or door.leave is None:
                door = self._pools.get(name) or self._pool_door(name)
                door.leave = Leave(name, "pool")
                self._recount(door)
                door.leave.ask()
            if door.version != settings.version:
                door.version = settings.version
                self._leave(door).ask()
            self._stirred.add(door)
        for name, door in list(self._pools.items()):
            if door.leave is not None and name not in limited:
                door.leave = None
                self._stirred.discard(door)
                self._let_go_of(name, door)

    def executors_changed(self) -> None:
        """There may be more room in a pool now, or less."""
        self._most.clear()
        for door in self._pools.values():
            door.queue.refresh_all()

    def _recount(self, door: _Door) -> None:
        """Count anew what is out in a pool: of one without a door not all was counted."""
        for name in [name for name in self._out if name[0] == door.gate]:
            del self._out[name]
        for task in self._memory.in_flight.values():
            for flight in task.flights.values():
                if flight.pool == door.gate:
                    self._leave(door).take(started=True)
                    self._count_out(door.gate, task.reg.user_id)
        door.queue.refresh_all()

    def _pool_door(self, name: str) -> _Door:
        queue = Queue(
            lambda user: self._out.get((name, user), 0),
            lambda user: None if user is None else self._share(name),
        )
        door = self._pools[name] = _Door("pool", name, queue, None)
        return door

    def _key_door(self, gate: str) -> _Door:
        door = self._keys.get(gate)
        if door is None:
            queue = Queue(lambda _: 0, lambda _: None)
            door = self._keys[gate] = _Door("key", gate, queue, Leave(gate, "key"))
        return door

    def _leave(self, door: _Door) -> Leave:
        assert door.leave is not None  # only a pool without a gate has none
        return door.leave

    def _let_go_of(self, name: str, door: _Door) -> None:
        if door.leave is None and not door.queue.waiting:
            self._pools.pop(name, None)
            self._out.pop((name, None), None)

    def _share(self, pool: str) -> int:
        """How much of one user this shard may have out in a pool."""
        most = self._most.get(pool)
        if most is None:
            capacity = self._types.capacity(pool)
            most = self._most[pool] = max(_LEAST_SHARE, ceil(2 * capacity / self._partitions))
        return most

    # -- handing out -------------------------------------------------------------------------------

    def hindrance(self, task: TaskState, pool: str) -> str | None:
        """Why an execution cannot go at once: `key`, `fair` or `pool`; `account`, where that is asked first; `credits`
        or `limit`, where it may not go at all. None: it can."""
        spec = task.reg.spec
        users = self._users
        if (spec.credits_per_run or users.bounded) and users.concerns(task.reg.user_id, spec):
            hindrance = users.hindrance(task)
            if hindrance is not None:
                return hindrance
        return self._further_hindrance(task, spec, pool)

    def _further_hindrance(self, task: TaskState, spec: TaskSpec, pool: str) -> str | None:
        if spec.concurrency_key is not None or spec.rate_limit is not None:
            return "key"
        if self._types.alone and spec.task_type in self._types.alone:
            return "key"
        return self._pool_hindrance(task.reg.user_id, pool)

    def _pool_hindrance(self, user: str | None, pool: str) -> str | None:
        door = self._pools.get(pool)
        if user is None:
            if door is None:
                return None
        elif self._out.get((pool, user), 0) >= self._share(pool):
            return "fair"
        if door is None:
            return None
        if door.leave is not None and (door.leave.room <= 0 or self.paused(pool) or door.queue.wanting):
            return "pool"
        return None

    def crowded(self, task: TaskState) -> bool:
        """Whether as many executions of the task's user are in flight as may be, as far as this shard knows."""
        return self._users.crowded(task)

    def take(self, task: TaskState, flight: Flight, pool: str) -> None:
        """An attempt is handed out."""
        flight.pool = pool
        reg, users = task.reg, self._users
        user = reg.user_id
        if (
            flight.price == NOT_HELD
            and (reg.spec.credits_per_run or users.bounded)
            and users.concerns(user, reg.spec)
        ):
            users.take(task, flight)
        door = self._pools.get(pool)
        if user is not None or door is not None:
            self._count_out(pool, user)
        if door is not None:
            if door.leave is not None:
                door.leave.take(started=True)
            door.queue.refresh(user)

    def admit(self, task: TaskState, flight: Flight, pool: str) -> bool:
        """Whether an execution that is written ahead goes now; if not, it waits here from now on."""
        if (task.task_id, flight.run) in self._waiting or self._users.waits(task, flight):
            return False
        # One that has had an attempt is not held up again: it holds its price until it has ended.
        if (
            flight.price == NOT_HELD
            and flight.attempt == 1
            and self._users.concerns(task.reg.user_id, task.reg.spec)
        ):
            hindrance = self._users.hindrance(task)
            if hindrance == WAIT:
                self._users.wait(self._item(task, flight, pool))
                return False
            if hindrance is not None:
                self._refused.append((self._item(task, flight, pool), hindrance))
                return False
            self._users.take(task, flight)
        return self._admit_further(task, flight, pool)

    def _admit_further(self, task: TaskState, flight: Flight, pool: str) -> bool:
        """The same for one that has its user's leave, or needs none."""
        if self._further_hindrance(task, task.reg.spec, pool) is None:
            self.take(task, flight, pool)
            return True
        key = key_of(task.task_id, task.reg.spec, self._types.alone)
        if key is None:
            self._wait(self._pools.get(pool) or self._pool_door(pool), task, flight, pool)
        else:
            door = self._key_door(key)
            door.members[task.task_id, flight.run] = task
            self._wait(door, task, flight, pool)
        return False

    def _wait(self, door: _Door, task: TaskState, flight: Flight, pool: str) -> None:
        item = self._item(task, flight, pool)
        self._waiting[task.task_id, flight.run] = (door, item)
        door.queue.add(item)
        self._stirred.add(door)

    @staticmethod
    def _item(task: TaskState, flight: Flight, pool: str) -> Item:
        # Late ones go after everything live, by when they were found late: most are older than what is live.
        rank = _RANK_OF_LATE if flight.waits_late else _RANKS[priority_of(task, flight)]
        since_ms = flight.late_ms if flight.waits_late else flight.emit_ms
        return Item(task, flight, task.reg.user_id, rank, since_ms, pool)

    def let_go(
        self, may_go: Callable[[TaskState, Flight], bool], go: Callable[[Item], None], limit: int
    ) -> None:
        """Let those of the waiting `go` that can now, their units taken, up to so many.

        `may_go` is asked of each when those before it are gone: of one task one may be in another's way.
        """
        left = limit - self._let_users_go(may_go, go, limit)
        for door in [door for door in self._stirred if door.kind == "key" and not door.shut]:
            with self._guard(door, "letting what waits go"):
                left -= self._let_key_go(door, may_go, go, left)
        for name, door in list(self._pools.items()):
            with self._guard(door, "letting what waits go"):
                left -= 0 if door.shut else self._let_pool_go(name, door, may_go, go, left)
                self._let_go_of(name, door)

    def _let_key_go(
        self,
        door: _Door,
        may_go: Callable[[TaskState, Flight], bool],
        go: Callable[[Item], None],
        limit: int,
    ) -> int:
        gone = 0
        while self._leave(door).room and gone < limit:
            item = self._next(door, may_go)
            if item is None:
                break
            if self._with_key(door, item):
                go(item)
                gone += 1
        return gone

    def _let_pool_go(
        self,
        name: str,
        door: _Door,
        may_go: Callable[[TaskState, Flight], bool],
        go: Callable[[Item], None],
        limit: int,
    ) -> int:
        gone = 0
        while door.queue.wanting and gone < limit:
            if door.leave is not None and (not door.leave.room or self.paused(name)):
                break
            item = self._next(door, may_go)
            if item is not None:
                self.take(item.task, item.flight, name)
                go(item)
                gone += 1
        return gone

    def _guard(self, door: _Door, doing: str) -> Guard:
        def failed(error: Exception) -> None:
            _log.error(
                LogEvent.GATE_SET_ASIDE,
                partition=self._memory.partition,
                kind=door.kind,
                gate=door.gate,
                doing=doing,
                error=repr(error),
                exc_info=error,
            )
            door.shut = True

        return Guard(failed)

    def _let_users_go(
        self, may_go: Callable[[TaskState, Flight], bool], go: Callable[[Item], None], limit: int
    ) -> int:
        """Let those on that have their users' leave now; how many of them `go` at once."""
        gone = 0
        for item in self._users.free():
            if not may_go(item.task, item.flight):
                continue
            self._users.take(item.task, item.flight)
            if self._admit_further(item.task, item.flight, item.pool):
                go(item)
                gone += 1
                if gone >= limit:
                    break
        return gone

    def _next(self, door: _Door, may_go: Callable[[TaskState, Flight], bool]) -> Item | None:
        """The first of a queue that may go; those before it that may not wait no more."""
        while (item := door.queue.pick()) is not None:
            task, flight = item.task, item.flight
            del self._waiting[task.task_id, flight.run]
            if may_go(task, flight):
                return item
            door.members.pop((task.task_id, flight.run), None)
            self.release(task, flight, over=flight.attempt == 1)
        return None

    def _with_key(self, door: _Door, item: Item) -> bool:
        """An execution has its key: on to its pool. Whether it goes; if not, it waits there."""
        task, flight = item.task, item.flight
        flight.key, flight.begun = door.gate, False
        self._leave(door).take()
        if self._pool_hindrance(task.reg.user_id, item.pool) is None:
            self.take(task, flight, item.pool)
            return True
        self._wait(self._pools.get(item.pool) or self._pool_door(item.pool), task, flight, item.pool)
        return False

    def turned_away(self) -> list[tuple[Item, str]]:
        """What may not run, and why: slots that may not wait for their key, which is busy (`Overlap.SKIP`), and what
        the credits or limits of their users do not allow. They wait no more."""
        refused, self._refused = [*self._refused, *self._users.refused()], []
        return refused + [(item, "key") for item in self._without_key()]

    def _without_key(self) -> list[Item]:
        found = []
        for door in [door for door in self._stirred if door.busy]:
            door.busy = False
            for task_id, run in list(door.members):
                place, item = self._waiting.get((task_id, run), (None, None))
                if place is door and item is not None and _may_not_wait(item):
                    found.append(item)
        for item in found:
            self.release(item.task, item.flight, over=True)
        return found

    # -- what ends ---------------------------------------------------------------------------------

    def release(self, task: TaskState, flight: Flight, *, over: bool = False) -> None:
        """An attempt has ended, or is not to be handed out after all: what it held, or waited for, is free.

        `over`: and so has its execution, or it begins anew: its price is free too.
        """
        if self._users.waiting:
            self._users.stop_waiting(task, flight)
        if over and flight.price != NOT_HELD:
            self._users.release(task, flight)
        pool = flight.pool
        if pool is not None:
            flight.pool = None
            user, door = task.reg.user_id, self._pools.get(pool)
            if user is not None or door is not None:
                self._count_in(pool, user, door)
        if self._waiting:
            self._stop_waiting(task, flight)
        if flight.key is not None:
            door = self._key_door(flight.key)
            flight.key = None
            door.members.pop((task.task_id, flight.run), None)
            self._leave(door).release(started=flight.begun)
            self._stirred.add(door)

    def _count_in(self, pool: str, user: str | None, door: _Door | None) -> None:
        left = self._out.get((pool, user), 0) - 1
        if left > 0:
            self._out[pool, user] = left
        else:
            self._out.pop((pool, user), None)
        if door is not None:
            if door.leave is not None:
                door.leave.release(started=True)
                self._stirred.add(door)
            door.queue.refresh(user)

    def _stop_waiting(self, task: TaskState, flight: Flight) -> None:
        name = (task.task_id, flight.run)
        door, item = self._waiting.pop(name, (None, None))
        if door is not None and item is not None:
            door.queue.remove(item)
            door.members.pop(name, None)
            self._stirred.add(door)

    def started(self, flight: Flight, at_ms: int) -> None:
        """An attempt has started."""
        if flight.key is not None and not flight.begun:
            flight.begun = True
            door = self._key_door(flight.key)
            self._leave(door).started(at_ms)
            self._stirred.add(door)

    def _count_out(self, pool: str, user: str | None) -> None:
        self._out[pool, user] = self._out.get((pool, user), 0) + 1

    def paused(self, pool: str) -> bool:
        """Whether a pool is paused."""
        settings = self._catalogue.limited.get(pool)
        return settings is not None and settings.paused

    # -- talking with gates ------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When there is something to say, or to do; None: never by itself."""
        return 0 if self.heard else self._due_ms

    def hear(self) -> None:
        """Take what gates have said."""
        while self.heard:
            for grant in self.heard.popleft().grants:
                door = self._keys.get(grant.gate) if grant.kind == "key" else self._pools.get(grant.gate)
                if door is None and grant.kind == "key":
                    # It may hold something for a predecessor: say that nothing of it is in use.
                    door = self._key_door(grant.gate)
                if door is None or door.leave is None:
                    continue
                with self._guard(door, "hearing what is granted"):
                    ours = (grant.epoch, grant.n) == (self._epoch, door.leave.n)
                    door.leave.hear(self._epoch, grant)
                    door.busy = ours and grant.busy
                    self._stirred.add(door)

    def statements(self, now_ms: int) -> list[tuple[int, Statement]]:
        """What is to be said now, with the partition of the gate that it is said to."""
        doors = self._stirred
        if self._due_ms is not None and self._due_ms <= now_ms:
            doors = {door for door in (*self._pools.values(), *self._keys.values()) if door.leave is not None}
            self._due_ms = None
        self._stirred = set()
        found: list[tuple[int, Statement]] = []
        for door in doors:
            if door.leave is not None and not door.shut:
                with self._guard(door, "stating what is used"):
                    self._speak(door, door.leave, now_ms, found)
        return found

    def _speak(self, door: _Door, leave: Leave, now_ms: int, found: list[tuple[int, Statement]]) -> None:
        at_ms = leave.next_ms(door.queue.wanting)
        if at_ms is not None and at_ms <= now_ms:
            found.append((partition_of(door.gate, self._partitions), self._state(door, leave, now_ms)))
            at_ms = leave.next_ms(door.queue.wanting)
        if at_ms is not None:
            self._due_ms = at_ms if self._due_ms is None else min(self._due_ms, at_ms)
        elif door.kind == "key" and not door.members and leave.idle:
            self._keys.pop(door.gate, None)
        if leave.room and door.queue.wanting:
            # The turn was full.
            self._stirred.add(door)
            self._due_ms = 0

    def _state(self, door: _Door, leave: Leave, now_ms: int) -> Statement:
        if door.kind == "key":
            specs = [
                task.reg.spec
                for task in door.members.values()
                if key_of(task.task_id, task.reg.spec, self._types.alone) == door.gate
            ]
            # A rate alone bounds no number; the type's own key is one of a single unit.
            limits = [
                1 if spec.concurrency_key is None else spec.concurrency_limit
                for spec in specs
                if spec.concurrency_key is not None or spec.rate_limit is None
            ]
            # Once nothing of it is left here, what was said last still tells how long its starts count.
            leave.limit = min(limits, default=None)
            leave.rate = strictest(spec.rate_limit for spec in specs) if specs else leave.rate
        wanting = door.queue.wanting
        return leave.state(
            next(self._numbers),
            now_ms,
            wanting=wanting,
            first=door.queue.first() if wanting else (),
            oldest_ms=door.queue.oldest_ms if wanting else 0,
            version=door.version,
        )


def _may_not_wait(item: Item) -> bool:
    flight = item.flight
    return (
        item.task.reg.spec.overlap is Overlap.SKIP
        and flight.trigger is Trigger.SCHEDULE
        and flight.attempt == 1
        and not flight.waits_late
    )
