"""Deleting a task that is set aside: the way out where no version will ever decide about it.

A task stays aside, and the log is kept for it, until some leader can go on with it. An event that no version can count
would keep it so for ever. Whoever may delete the task gives it up: the command `delete` is the one that is decided
about a task that is set aside, where its register can be read.

Before the turn its register, its dues and its chains are read, as a take-over does (`takeover`). In the turn it comes
back into memory as these tell, with everything that the log has by then passed for counted (`Runtime.folded`), so that
no event of before is looked at again; and it is deleted at once, as any other: what waits of it is `skipped(deleted)`,
what runs is ended, its chains are seen to their end. The slots since it was set aside that nobody handed out are told
as missed, in spans. All of that is in one batch with the tombstone; where there are more spans than fit, since many of
its slots were handed out in between, an audit finds the last of them missing. Its counters stay without the events
since then. Where its schedule is what cannot be reckoned with, no slot is told.

*A leader that dies before that batch is stored* leaves the task aside, and the command comes again. *After it*, the
shard register may still name the task: a tombstone that has passed over what it would be tried again for is not set
aside any more (`SetAside`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.timing import count_fires
from gnomon_scheduler import patient_reads, takeover
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.catching_up import catch_up
from gnomon_scheduler.memory import Flight, ShardMemory, Slot, TaskState
from gnomon_scheduler.registers import Aside, TaskRegister
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode
from gnomon_schemas.events import SlotOutcome
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.tasks import CatchUpPolicy

__all__ = ["GivenUp", "Left", "come_back", "read_given_up"]


_log = structlog.get_logger(__name__)
_TOLD_MAX: Final = 300
"""So many spans and slots are told at the most: all of it is one unit, which has to fit into a batch."""


class GivenUp(NamedTuple):
    """What is stored of a task that is set aside."""

    seq: int
    reg: TaskRegister
    aside: Aside
    dues: Sequence[takeover.FoundDue]
    chains: takeover.Chains
    runs: frozenset[str]
    """Those with an event since it was set aside."""


class Left(NamedTuple):
    """The task as it comes back, and what it missed."""

    task: TaskState
    spans: list[SlotOutcome]
    waiting: list[Slot]
    """Slots that wait for their jitter."""


async def read_given_up(bus: Bus, book: Book, task_id: str) -> GivenUp | None:
    """Read what is stored of a task that is set aside; None where its register cannot be read."""
    partition = book.partition
    stored = await patient_reads.last(bus, EVENTS_STREAM, subjects.task_register(partition, task_id))
    reg = None if stored is None else _register(stored)
    if stored is None or reg is None:
        return None
    aside = book.aside.entry(task_id) or Aside(book.watermark_ms, book.memory.position + 1)
    events = await patient_reads.scan(
        bus, EVENTS_STREAM, subjects.chain(partition, task_id, "*"), aside.from_seq
    )
    runs = frozenset(subjects.parse_event(event.subject).run for event in events)
    dues = [
        found
        for found in await takeover.read_dues(bus, partition, book.emitter.fence)
        if found.due.task_id == task_id
    ]
    wanted = {(task_id, run) for run in (*runs, *(found.due.run for found in dues))}
    wanted |= {(task_id, entry.run) for entry in reg.entries}
    chains = await takeover.read_chains(bus, partition, wanted, book.register_seq)
    return GivenUp(stored.seq, reg, aside, dues, chains, runs)


def _register(stored: Stored) -> TaskRegister | None:
    try:
        return decode(stored.data, TaskRegister)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


def come_back(found: GivenUp, partition: int, position: int, now_ms: int) -> Left:
    """The task as it is to be deleted. `position`: everything up to there passes for counted."""
    runtime = msgspec.structs.replace(found.reg.runtime, folded=max(position, found.reg.runtime.folded))
    task = TaskState(msgspec.structs.replace(found.reg, runtime=runtime), found.seq)
    aside = ShardMemory(partition)
    aside.tasks[task.task_id] = task
    for entry in found.reg.entries:
        task.take_off(Flight.of_entry(entry))
    for item in found.reg.cancelling:
        task.wish(item)
    for run in found.runs:
        takeover.note_handled(aside, task.task_id, run)
    takeover.set_to_log(aside, found.dues, found.chains)
    for flight in task.flights.values():
        # What it holds is released with what was out when it was set aside (`aside_runs`).
        flight.pool, flight.key = None, None
    before = task.reg
    try:
        spans, waiting = _missed(aside, task, found.aside.since_ms, now_ms)
    except Exception as error:  # noqa: BLE001 - it may be its schedule that cannot be reckoned with, and it is to go
        _log.exception(
            LogEvent.TASK_SET_ASIDE,
            partition=partition,
            task_id=task.task_id,
            doing="telling what it missed",
            error=repr(error),
        )
        spans, waiting = [], []
        task.reg = msgspec.structs.replace(before, spec=msgspec.structs.replace(before.spec, schedule=None))
    return Left(task, spans, waiting)


def _missed(
    memory: ShardMemory, task: TaskState, since_ms: int, now_ms: int
) -> tuple[list[SlotOutcome], list[Slot]]:
    """The slots since an instant that nobody handed out: spans, and those that wait for their jitter."""
    reg, spec = task.reg, task.reg.spec
    if spec.schedule is not None and spec.paused:
        # The slots of its pause are told when it is deleted: whether they can be is to be found out here.
        _ = count_fires(spec.schedule, reg.cursor_s, now_ms // 1000)
    spans: list[SlotOutcome] = []
    waiting: list[Slot] = []
    # Late or not: none of them is to run.
    skip = msgspec.structs.replace(spec.catch_up, policy=CatchUpPolicy.SKIP, after_seconds=0)
    task.reg = msgspec.structs.replace(reg, spec=msgspec.structs.replace(spec, catch_up=skip))
    handled = memory.handled.get(task.task_id, set())
    memory.schedule(task, since_ms)
    while len(spans) + len(waiting) < _TOLD_MAX and (slots := memory.pop_due(now_ms, 1)):
        backlog = catch_up(slots[0], now_ms, partition=memory.partition, handled=handled)
        spans += backlog.events
        waiting += backlog.waiting
        task.reg = msgspec.structs.replace(task.reg, cursor_s=max(task.reg.cursor_s, backlog.cursor_s))
        memory.schedule(task, since_ms)
    task.reg = msgspec.structs.replace(reg, cursor_s=task.reg.cursor_s)
    return spans[:_TOLD_MAX], waiting[:_TOLD_MAX]
