"""What a `repair` has to know: what the log says of the slots that it lists, read before the turn decides.

Read after the turn has folded what the follower delivered and before anything else of it: so what has ended is either
in the log by now, and found here, or in flight in memory. What is read of slots up to the watermark stays as it is
until the decision, since only this leader hands slots out, and those it has handed out in earlier turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

import structlog

from gnomon_core.ledger import marks_of_events
from gnomon_core.rules.repair_input import parse_repair
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import BusError, NoAnswer
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler import patient_reads
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.command import Command, PastSlots
from gnomon_scheduler.intake import Received
from gnomon_scheduler.replica import read_event
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms, slot_run
from gnomon_schemas.events import Event, SlotOutcome
from gnomon_schemas.limits import is_id
from gnomon_schemas.subjects import EVENTS_FILTER, EVENTS_STREAM, TASK_RUN

__all__ = ["read_slots"]

_log = structlog.get_logger(__name__)

_CHAINS_A_READ = 200


async def read_slots(bus: Bus, book: Book, commands: deque[Received], at_most: int) -> None:
    """Give the `repair`s among the first `at_most` commands what the log says, as `Command.slots`."""
    wanted = {
        index: (received.command.object_id, slots)
        for index, received in enumerate(islice(commands, at_most))
        if (slots := _slots_of(received.command))
    }
    for index, (task_id, slots) in wanted.items():
        received = commands[index]
        try:
            read = await _read(bus, book, task_id, slots)
        except BusError:
            raise
        except Exception:  # noqa: BLE001 - it is about an event of that task; without this its repair is refused
            _log.exception(
                LogEvent.COMMAND_FAILED, subject=received.command.subject, seq=received.command.seq
            )
            continue
        command = received.command._replace(slots=read)
        commands[index] = Received(command, received.reply_to, received.ack_subject)


def _slots_of(command: Command) -> list[int]:
    """The slots of a `repair`; none of every other command, and of one that is refused anyway."""
    if (command.kind, command.verb) != ("task", "repair") or not is_id(command.object_id):
        return []
    try:
        return parse_repair(command.data)
    except Exception:  # noqa: BLE001 - deciding it meets the same, and is guarded
        return []


async def _read(bus: Bus, book: Book, task_id: str, slots: Sequence[int]) -> PastSlots:
    at_least = max(book.register_seq, book.memory.position)
    watermark_ms = book.watermark_ms
    first = await _first_event(bus)
    own = await _own_events(bus, subjects.chain(book.partition, task_id, TASK_RUN))
    spans = tuple(
        (instant_ms(event.from_) // 1000, instant_ms(event.to) // 1000, event.revision)
        for event in own
        if isinstance(event, SlotOutcome) and event.from_ is not None and event.to is not None
    )
    return PastSlots(
        watermark_ms=watermark_ms,
        log_from_ms=None if first is None else first.time_ms,
        recorded=await _recorded(bus, book.partition, task_id, slots, at_least),
        spans=spans,
        marks=tuple(marks_of_events(own)),
    )


async def _first_event(bus: Bus) -> Stored | None:
    """The oldest event of the log: from its time on nothing was purged."""
    while True:
        try:
            return await bus.first_from(EVENTS_STREAM, EVENTS_FILTER, 1)
        except NoAnswer:
            await asyncio.sleep(patient_reads.RETRY_PAUSE)


async def _own_events(bus: Bus, subject: str) -> list[Event]:
    """The events of a task itself that the log has, in order."""
    stored = await patient_reads.scan(bus, EVENTS_STREAM, subject)
    return [read[2] for one in stored if (read := read_event(one)) is not None]


async def _recorded(
    bus: Bus, partition: int, task_id: str, slots: Sequence[int], at_least: int
) -> frozenset[int]:
    """Those of some slots whose chain has an event."""
    by_run = {slot_run(slot): slot for slot in slots}
    found: set[int] = set()
    runs = list(by_run)
    for start in range(0, len(runs), _CHAINS_A_READ):
        filters = [subjects.chain(partition, task_id, run) for run in runs[start : start + _CHAINS_A_READ]]
        for stored in await patient_reads.last_of_each(bus, EVENTS_STREAM, filters, at_least):
            found.add(by_run[subjects.parse_event(stored.subject).run])
    return frozenset(found)
