"""What a `retry_execution` has to know: the chain of the execution that it is to repeat.

Memory holds what is in flight, and nothing of what has ended. That is read from the log before the turn decides its
commands. What has ended stays as it is, so it does not matter when in the turn it is read; what has not is in memory,
or its chain shows no end: either way the command is refused.
"""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import islice

from gnomon_core.rules.run_input import parse_retry
from gnomon_core.runtime.bus import Bus
from gnomon_scheduler import patient_reads
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.intake import Received
from gnomon_scheduler.replica import read_event
from gnomon_schemas import subjects
from gnomon_schemas.events import Event
from gnomon_schemas.limits import is_id
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["read_past"]


async def read_past(bus: Bus, book: Book, commands: deque[Received], at_most: int) -> None:
    """Give the first `at_most` commands the chains that they need, as `Command.past`."""
    wanted: dict[int, tuple[str, str]] = {}
    for index, received in enumerate(islice(commands, at_most)):
        run = _run_to_repeat(received.command)
        if run is not None:
            wanted[index] = (received.command.object_id, run)
    if not wanted:
        return
    chains = await _chains(bus, book, set(wanted.values()))
    for index, execution in wanted.items():
        received = commands[index]
        command = received.command._replace(past=tuple(chains[execution]))
        commands[index] = Received(command, received.reply_to, received.ack_subject)


async def _chains(
    bus: Bus, book: Book, wanted: set[tuple[str, str]]
) -> defaultdict[tuple[str, str], list[Event]]:
    """The newest event of each kind on these chains, in order; whatever this leader knows of is there."""
    filters = [subjects.chain(book.partition, task_id, run) for task_id, run in sorted(wanted)]
    at_least = max(book.register_seq, book.memory.position)
    chains: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
    found = await patient_reads.last_of_each(bus, EVENTS_STREAM, filters, at_least)
    for stored in sorted(found, key=lambda one: one.seq):
        read = read_event(stored)
        if read is not None:
            _, run, event = read
            chains[event.task_id, run].append(event)
    return chains


def _run_to_repeat(command: Command) -> str | None:
    """The run that a `retry_execution` names; None for every other command, and for one that is refused anyway."""
    if (command.kind, command.verb) != ("task", "retry_execution") or not is_id(command.object_id):
        return None
    try:
        return parse_retry(command.data).run
    except Exception:  # noqa: BLE001 - deciding it meets the same, and is guarded
        return None
