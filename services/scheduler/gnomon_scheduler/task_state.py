"""One task in memory, and its executions in flight.

**At rest.** A scheduler holds every task of every shard, a million of them, and nearly all of them wait. So a task
keeps its register as the bytes that are stored, half a kilobyte, and decodes it when somebody looks (`TaskState.reg`):
that takes some microseconds, and as objects it would be five times the size. What was decoded stays until the task
rests again, which is when its register has been stored and nothing of it is in flight (`TaskState.rest`). Whoever holds
a `TaskState` holds the task itself, awake or at rest.

The Structs in here are left out of Python's cycle collector (`gc=False`): nothing that they hold points back at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from gnomon_scheduler.registers import Cancelling, Entry, TaskRegister
from gnomon_schemas.codec import decode
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Trigger

__all__ = ["Flight", "Outline", "TaskState"]


class Flight(msgspec.Struct, kw_only=True, gc=False, eq=False):
    """One unfinished execution: waiting, emitted, started, or waiting for its next attempt."""

    run: str
    trigger: Trigger
    scheduled_ms: int
    due_ms: int
    emit_ms: int
    revision: int
    written: bool
    """It is (or goes with this batch) in the task's register."""
    attempt: int = 1
    cause_seq: int = 0
    queued: bool = False
    gated: bool = False
    expires_ms: int | None = None
    has_input: bool = False
    retry_of: str | None = None
    first_started_ms: int | None = None
    traceparent: str | None = None
    late_ms: int = 0
    """When its slot was found late and chosen to run all the same; 0: it was not late."""
    calendar_id: str | None = None
    """The calendar of blackouts that puts it off."""
    emitted: bool = False
    """A due of the present attempt has been published."""
    started: bool = False
    """The present attempt was claimed."""
    due_seq: int = 0
    executor: str | None = None
    first_seq: int = 0
    """First sequence of its chain that is known; 0: none."""
    last_seq: int = 0
    """Last sequence of its chain that is known."""
    pool: str | None = None
    """Its present attempt is out, counted in this pool (`admission`)."""
    key: str | None = None
    """It holds a unit of this key."""
    price: int = -1
    """Micros of its user's credits that it holds, from when it is let go until it has ended (`user_doors`); -1: it
    holds nothing, not even a place among its user's executions."""
    begun: bool = False
    """The start of the attempt that holds the unit was counted."""
    found_late: bool = False
    """It was found late while it had not started (`lateness_desk`)."""

    def __post_init__(self) -> None:
        self.last_seq = self.last_seq or self.cause_seq

    @classmethod
    def of_entry(cls, entry: Entry) -> Flight:
        """The flight of an entry found in a register."""
        return cls(
            run=entry.run,
            trigger=entry.trigger,
            scheduled_ms=entry.scheduled_ms,
            due_ms=entry.due_ms,
            emit_ms=entry.emit_ms,
            revision=entry.revision,
            written=True,
            attempt=entry.attempt,
            cause_seq=entry.cause_seq,
            queued=entry.queued,
            gated=entry.gated,
            expires_ms=entry.expires_ms,
            has_input=entry.has_input,
            retry_of=entry.retry_of,
            first_started_ms=entry.first_started_ms,
            traceparent=entry.traceparent,
            late_ms=entry.late_ms,
            calendar_id=entry.calendar_id,
        )

    def entry(self) -> Entry:
        """What the register keeps of it."""
        return Entry(
            run=self.run,
            trigger=self.trigger,
            scheduled_ms=self.scheduled_ms,
            due_ms=self.due_ms,
            emit_ms=self.emit_ms,
            revision=self.revision,
            attempt=self.attempt,
            cause_seq=self.cause_seq if self.attempt > 1 else 0,
            queued=self.queued,
            gated=self.gated,
            expires_ms=self.expires_ms,
            has_input=self.has_input,
            retry_of=self.retry_of,
            first_started_ms=self.first_started_ms,
            traceparent=self.traceparent,
            late_ms=self.late_ms,
            calendar_id=self.calendar_id,
        )

    @property
    def running(self) -> bool:
        """Whether it counts against the overlap policy: it was handed out, or has had an attempt."""
        return self.emitted or self.started or self.attempt > 1

    @property
    def waits_late(self) -> bool:
        """Whether it is part of a backlog, or put off by a blackout, and was not handed out yet."""
        return (self.late_ms > 0 or self.calendar_id is not None) and not self.running

    @property
    def put_off(self) -> bool:
        """Whether a blackout puts it off: it was not handed out yet."""
        return self.calendar_id is not None and not self.running

    @property
    def unclaimed(self) -> bool:
        """Whether no attempt of it was ever claimed, as far as is known."""
        return not self.started and self.attempt == 1


class _SpecOutline(msgspec.Struct, frozen=True, gc=False):
    schedule: Schedule | None = None
    paused: bool = False


class _Owned(msgspec.Struct, frozen=True, gc=False):
    """The part of a register that says whose it is."""

    user_id: str | None


class Outline(msgspec.Struct, frozen=True, gc=False):
    """The part of a register that decides its slots: decoded in a third of the time of all of it."""

    spec: _SpecOutline
    revision: int
    revision_from_ms: int
    cursor_s: int
    fingerprint: str
    ended: str | None = None
    deleted_ms: int | None = None
    fired: int = 0

    @property
    def exhausted(self) -> bool:
        """See `TaskRegister.exhausted`."""
        schedule = self.spec.schedule
        return schedule is not None and schedule.max_runs is not None and self.fired >= schedule.max_runs

    @property
    def active(self) -> bool:
        """See `TaskRegister.active`."""
        spec = self.spec
        return (
            spec.schedule is not None and not spec.paused and self.ended is None and self.deleted_ms is None
        )


_NO_FLIGHTS: Final[Mapping[str, Flight]] = MappingProxyType({})
_NOTHING_CANCELLED: Final[Mapping[str, Cancelling]] = MappingProxyType({})


class TaskState(msgspec.Struct, gc=False, eq=False):
    """One task in memory."""

    _reg: TaskRegister | None
    """Decoded; None: at rest."""
    seq: int
    """Sequence of the register as stored; 0: not stored yet."""
    task_id: str = ""
    _stored: bytes | None = None
    """The register as stored, while that is what `reg` says; None: it was changed, or never stored."""
    planned: int = 0
    """The item of the timetable's heap that stands for the task's next slot; 0: none."""
    generation: int = 0
    """Of its slots that wait for their jitter on the heap."""
    dirty_from: int = 0
    """Sequence of the oldest folded event whose effect is not in a stored register; 0: none."""
    _flights: dict[str, Flight] | None = None
    """None instead of an empty one, as nearly every task has."""
    _cancelling: dict[str, Cancelling] | None = None

    def __post_init__(self) -> None:
        if self._reg is not None:
            self.task_id = self._reg.task_id

    @property
    def reg(self) -> TaskRegister:
        """Its register, without the executions in flight (see `stored_form`)."""
        reg = self._reg
        if reg is None:
            assert self._stored is not None  # a task that is not awake is at rest
            reg = self._reg = decode(self._stored, TaskRegister)
        return reg

    @reg.setter
    def reg(self, reg: TaskRegister) -> None:
        self._reg, self._stored = reg, None

    @property
    def flights(self) -> Mapping[str, Flight]:
        """Its unfinished executions by run: changed by `take_off` and `land`."""
        return self._flights or _NO_FLIGHTS

    @property
    def cancelling(self) -> Mapping[str, Cancelling]:
        """What is being ended, by run: changed by `wish` and `unwish`."""
        return self._cancelling or _NOTHING_CANCELLED

    @property
    def outline(self) -> Outline:
        """What decides its slots, without waking it."""
        reg = self._reg
        if reg is None:
            assert self._stored is not None
            return decode(self._stored, Outline)
        spec = _SpecOutline(reg.spec.schedule, reg.spec.paused)
        return Outline(
            spec,
            reg.revision,
            reg.revision_from_ms,
            reg.cursor_s,
            reg.fingerprint,
            reg.ended,
            reg.deleted_ms,
            reg.fired,
        )

    @property
    def owner(self) -> str | None:
        """Its user, without waking it."""
        reg = self._reg
        if reg is not None:
            return reg.user_id
        assert self._stored is not None
        return decode(self._stored, _Owned).user_id

    def may_mention(self, texts: Sequence[bytes]) -> bool:
        """Whether one of some texts may be in its register: a quick look, without waking it."""
        stored = self._stored
        return stored is None or any(text in stored for text in texts)

    @property
    def awake(self) -> bool:
        """Whether its register is held decoded."""
        return self._reg is not None

    @property
    def running(self) -> bool:
        """Whether something of it is in flight, as the overlap policy sees it."""
        return any(flight.running for flight in self.flights.values())

    def rest(self, reg: TaskRegister, stored: bytes) -> None:
        """Its register was stored as these bytes, made of `reg`: keep no more than them, if that is all there is."""
        if self._reg is reg and self._flights is None and self._cancelling is None:
            self._stored, self._reg = stored, None

    def take_off(self, flight: Flight) -> None:
        """The execution is in flight from now on."""
        if self._flights is None:
            self._flights = {}
        self._flights[flight.run] = flight

    def land(self, run: str) -> Flight | None:
        """The execution is over: it, where it was in flight."""
        if self._flights is None:
            return None
        flight = self._flights.pop(run, None)
        self._flights = self._flights or None
        return flight

    def wish(self, item: Cancelling) -> None:
        """An execution is being ended."""
        if self._cancelling is None:
            self._cancelling = {}
        self._cancelling[item.run] = item

    def unwish(self, run: str) -> Cancelling | None:
        """It is not, any more: the wish, where there was one."""
        if self._cancelling is None:
            return None
        item = self._cancelling.pop(run, None)
        self._cancelling = self._cancelling or None
        return item

    def stored_form(self) -> TaskRegister:
        """The register as it has to be written now: with its entries and what is being cancelled."""
        reg = self.reg
        if not (self.flights or self.cancelling or reg.entries or reg.cancelling):
            return reg
        return msgspec.structs.replace(
            reg,
            entries=tuple(flight.entry() for flight in self.flights.values() if flight.written),
            cancelling=tuple(self.cancelling.values()),
        )
