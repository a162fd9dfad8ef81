"""The sweep: once a minute a leader looks for what the ordinary path may have left behind.

* A first attempt that nobody claimed before it expired: `missed(expired)`, like a withdrawal. Its owner waits for that,
  and memory alone tells it, so it is looked for every two seconds, or as rarely as keeps that under 1 % of the time.
* A due whose execution is over (its acknowledgement was lost, or its executor died between result and ack): deleted.
* An execution that is written ahead and was handed out, whose due is gone and whose chain has nothing newer than its
  cause, or ends in `started`: its due is published again.
* One whose chain has ended, and which memory still holds: forgotten, or it would block its task for ever.
* The register of a key that nobody uses: removed.
* The tombstone of a template, calendar or account older than both retention times: removed, exactly.
* A tombstone, or the register of a task that ended, older than both retention times and without any chain left: its
  register is removed, exactly (`STREAM.PURGE` up to its sequence), so that a create of the same id meanwhile stays.

Reading is done beside the turns, and what was found is handed to the next turn as a request that looks again at
the memory as it is then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.decisions.departing import expired
from gnomon_scheduler.shard import Shard
from gnomon_scheduler.takeover import read_chains
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode
from gnomon_schemas.events import TERMINAL
from gnomon_schemas.subjects import DUE_STREAM, EVENTS_STREAM

__all__ = ["Sweep"]

_log = structlog.get_logger(__name__)
_EXPIRY_SECONDS = 2.0
"""How long after its time work that nobody claimed is found at the latest, while there is little of it."""
_REMOVED_A_SWEEP = 200
_KEYS_A_SWEEP = 50_000
"""As many as memory knows of: a key that is left out would be forgotten, and its register stay for ever."""
_KEYS_AT_ONCE = 32


class _DueKey(msgspec.Struct, frozen=True, gc=False):
    """The part of a due that the sweep looks at."""

    task_id: str
    run: str
    attempt: int


class Sweep(Service):
    """Sweeps one led shard every `every_seconds`."""

    def __init__(
        self, bus: NatsBus, shard: Shard, clock: Clock, *, every_seconds: float, keep_seconds: float
    ) -> None:
        super().__init__(f"sweep-{shard.partition}")
        self._bus, self._shard, self._clock = bus, shard, clock
        self._every, self._keep_ms = every_seconds, int(keep_seconds * 1000)

    async def on_start(self) -> None:
        """Begin to sweep."""
        _ = self.spawn(self._loop(), "loop")
        _ = self.spawn(self._expiry_loop(), "expiry")

    async def _expiry_loop(self) -> None:
        took = 0.0
        while True:
            await asyncio.sleep(max(min(self._every, _EXPIRY_SECONDS), 100 * took))
            begun = time.perf_counter()
            self._expire()
            took = time.perf_counter() - begun

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.sweep()
            except BusError as error:
                _log.info(LogEvent.SWEEP_WAITS, partition=self._shard.partition, error=str(error))

    async def sweep(self) -> None:
        """Look once, for all but what has expired. Raises BusError when the broker does not answer."""
        await self._mend_dues()
        await self._remove_registers()
        await self._remove_keys()
        await self._remove_tombstones()

    def _expire(self) -> None:
        now_ms = self._clock.now_ms()
        late = [
            (task, flight.run)
            for task in self._shard.book.memory.in_flight.values()
            for flight in task.flights.values()
            if expired(flight, now_ms)
        ]

        def expire() -> None:
            for task, run in late:
                flight = task.flights.get(run)
                if flight is not None and flight.unclaimed:
                    self._shard.endings.expire(task, run)

        if late:
            self._shard.request(expire)

    async def _mend_dues(self) -> None:
        book, partition = self._shard.book, self._shard.partition
        handed_out = {
            (task_id, flight.run, flight.attempt)
            for task_id, task in book.memory.in_flight.items()
            for flight in task.flights.values()
            if flight.emitted and flight.due_seq
        }
        at_least = book.register_seq
        present: dict[tuple[str, str, int], int] = {}
        async for stored in self._bus.scan(
            DUE_STREAM, subjects.due_filter(partition), start_seq=1, at_least_seq=book.emitter.fence
        ):
            key = _key(stored)
            if key is not None:
                present[key.task_id, key.run, key.attempt] = stored.seq
        lost = handed_out - present.keys()
        stale = {key: seq for key, seq in present.items() if key not in handed_out}
        wanted = {(task_id, run) for task_id, run, _ in (*lost, *stale)}
        chains = await read_chains(self._bus, partition, wanted, at_least)
        deleted = 0
        for (task_id, run, _), seq in stale.items():
            if _is_over(chains.get((task_id, run))):
                deleted += await self._bus.delete(DUE_STREAM, seq)
        again = [key for key in lost if not _is_over(chains.get(key[:2]))]
        ended = [(*key, chains[key[:2]][-1].seq) for key in lost if _is_over(chains.get(key[:2]))]

        def mend() -> None:
            for task_id, run, attempt in again:
                task = book.memory.tasks.get(task_id)
                flight = None if task is None else task.flights.get(run)
                if task and flight and flight.emitted and flight.attempt == attempt:
                    with book.aside.task(task_id, "handing a lost due out again"):
                        flight.emitted = False
                        self._shard.admission.release(task, flight)
                        book.arm(task_id, flight)
            for task_id, run, attempt, seq in ended:
                task = book.memory.tasks.get(task_id)
                flight = None if task is None else task.flights.get(run)
                # What is not folded yet ends it in the ordinary way.
                if task and flight and flight.attempt == attempt and seq <= book.memory.position:
                    with book.aside.task(task_id, "forgetting what has ended"):
                        self._shard.folding.ended_unseen(task, flight)

        if again or ended:
            self._shard.request(mend)
        if again or deleted:
            _log.info(LogEvent.SWEEP_ACTED, partition=partition, republished=len(again), deleted=deleted)

    async def _remove_registers(self) -> None:
        book, before_ms = self._shard.book, self._clock.now_ms() - self._keep_ms
        tasks = book.memory.tasks
        old = [
            (task_id, tasks[task_id].seq)
            for task_id, over in book.memory.over.items()
            if over.since_ms < before_ms and not tasks[task_id].flights and not tasks[task_id].cancelling
        ]
        for task_id, seq in old[:_REMOVED_A_SWEEP]:
            chain = subjects.chain(self._shard.partition, task_id, "*")
            if await self._bus.last(EVENTS_STREAM, chain) is not None:
                continue
            register = subjects.task_register(self._shard.partition, task_id)
            await self._bus.purge(EVENTS_STREAM, filter=register, up_to_seq=seq + 1)
            self._shard.request(self._forgetting(task_id, seq))

    async def _remove_keys(self) -> None:
        """Remove the registers of keys that nobody uses: exactly, so that one written meanwhile stays."""
        book = self._shard.book
        idle = list(book.memory.idle_keys.items())[:_KEYS_A_SWEEP]
        for start in range(0, len(idle), _KEYS_AT_ONCE):
            group = idle[start : start + _KEYS_AT_ONCE]
            await asyncio.gather(*(self._remove_key(gate, seq) for gate, seq in group))

    async def _remove_key(self, gate: str, seq: int) -> None:
        register = subjects.gate_register("key", self._shard.partition, gate)
        await self._bus.purge(EVENTS_STREAM, filter=register, up_to_seq=seq + 1)
        self._shard.request(self._forgetting_key(gate, seq))

    async def _remove_tombstones(self) -> None:
        """Remove the registers of objects that were deleted long ago: exactly, so that one made anew stays."""
        objects = self._shard.book.memory.objects
        for kind, object_id, seq in objects.tombstones(self._clock.now_ms() - self._keep_ms)[
            :_REMOVED_A_SWEEP
        ]:
            register = subjects.object_register(kind, self._shard.partition, object_id)
            await self._bus.purge(EVENTS_STREAM, filter=register, up_to_seq=seq + 1)
            self._shard.request(partial(objects.forget, kind, object_id, seq))

    def _forgetting_key(self, gate: str, seq: int) -> Callable[[], None]:
        return lambda: self._shard.gates.forget_idle(gate, seq)

    def _forgetting(self, task_id: str, seq: int) -> Callable[[], None]:
        def forget() -> None:
            task = self._shard.book.memory.tasks.get(task_id)
            if task is not None and task.seq == seq:
                self._shard.book.memory.drop_task(task_id)

        return forget


def _key(stored: Stored) -> _DueKey | None:
    if not subjects.is_due(stored.subject):
        return None
    try:
        return decode(stored.data, _DueKey)
    except msgspec.DecodeError:
        # Its executor sets it aside and says so.
        return None


def _is_over(chain: list[Stored] | None) -> bool:
    return chain is not None and subjects.parse_event(chain[-1].subject).name in TERMINAL
