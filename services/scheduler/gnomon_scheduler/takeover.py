"""Taking a shard over: the order of steps, and what each makes certain.

1. *Shard register* with a higher epoch, expecting the one before: from here on no batch of an older epoch is stored.
2. *Due fence* rolled up: from here on no due of an older epoch is stored.
3. *Read `TASK_DUE`* up to the fence: what is due and unfinished. A due that is not there was never published, or has
   been consumed; and a due is acknowledged only after the event it led to is stored.
4. *Barrier*: the shard register again. Whatever consumed a due that step 3 did not see stored its event before the
   read, so before the barrier. Reading the chains of those slots straight away instead would not do on three nodes:
   a replica may have reached the register of step 1 and not yet such an event.
5. *Wait for the follower to deliver the barrier*: memory holds every register and every event before it.
6. *Fold* the events after the fold position.
7. *Read the chains* of the dues found and of the entries written ahead, from a replica that has the barrier.

After this a slot with an emission time in (watermark, now] was emitted if and only if its due was found in step 3 or
its chain has an event after the predecessor's last register: a leader publishes plain dues of slots after the
watermark only once the register with that watermark is stored, so the events of such a slot lie behind it, and
behind the fold position. They are all in what step 6 folds; no chain has to be read for them. See ADR 0003.

A crash anywhere in here leaves a higher epoch and nothing else; the next leader begins again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import NoAnswer
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler import patient_reads
from gnomon_scheduler.commit import Committer
from gnomon_scheduler.emission import Emitter
from gnomon_scheduler.memory import Flight, ShardMemory, TaskState
from gnomon_scheduler.registers import ShardRegister
from gnomon_scheduler.replica import Replica
from gnomon_scheduler.setting_aside import SetAside
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms, parse_slot_run
from gnomon_schemas.codec import decode
from gnomon_schemas.dues import Due
from gnomon_schemas.events import TERMINAL
from gnomon_schemas.headers import GATE, TRACEPARENT
from gnomon_schemas.subjects import DUE_STREAM, EVENTS_STREAM
from gnomon_schemas.tasks import Trigger

__all__ = [
    "Chains",
    "FoundDue",
    "Taken",
    "note_handled",
    "read_chains",
    "read_dues",
    "reconcile",
    "seize",
    "set_to_log",
]

_log = structlog.get_logger(__name__)
_CHAINS_A_READ = 200
_READS_AT_ONCE = 4


class FoundDue(NamedTuple):
    """A due that was in `TASK_DUE`."""

    seq: int
    due: Due
    traceparent: str | None = None
    gate: str | None = None
    """Of the key that its attempt holds a unit of."""


class Taken(NamedTuple):
    """A shard that was taken, as steps 1 to 5 give it."""

    epoch: int
    committer: Committer
    emitter: Emitter
    dues: list[FoundDue]
    barrier: int


async def seize(bus: Bus, replica: Replica, owner: str, lease_epoch: int, fingerprint: str) -> Taken:
    """Steps 1 to 5. Raises Deposed when another process does the same and is ahead."""
    partition = replica.partition
    current, seq = await _read_register(bus, partition)
    epoch = max(current.epoch + 1, lease_epoch)
    committer = Committer(bus, partition, seq, current)
    mine = msgspec.structs.replace(current, epoch=epoch, owner=owner, fingerprint=fingerprint)
    await committer.store(mine)
    emitter = Emitter(bus, partition, epoch, owner)
    await emitter.take_fence()
    dues = await read_dues(bus, partition, emitter.fence)
    barrier = await committer.store(msgspec.structs.replace(committer.current, due_fence=emitter.fence))
    await replica.wait_for(barrier)
    return Taken(epoch, committer, emitter, dues, barrier)


async def _read_register(bus: Bus, partition: int) -> tuple[ShardRegister, int]:
    last = await patient_reads.last(bus, EVENTS_STREAM, subjects.shard_register(partition))
    if last is not None:
        return decode(last.data, ShardRegister), last.seq
    fresh = ShardRegister(
        partition=partition,
        epoch=0,
        owner="",
        nonce="",
        watermark_ms=0,
        fold_position=0,
        oldest_unfinished=0,
        last_command=0,
        due_fence=0,
        fingerprint="",
    )
    return fresh, 0


async def read_dues(bus: Bus, partition: int, fence: int) -> list[FoundDue]:
    """All dues of the shard, from a replica that has the fence."""
    while True:
        found: list[FoundDue] = []
        try:
            async for stored in bus.scan(
                DUE_STREAM, subjects.due_filter(partition), start_seq=1, at_least_seq=fence
            ):
                due = _read_due(stored)
                if due is not None:
                    found.append(
                        FoundDue(stored.seq, due, stored.headers.get(TRACEPARENT), stored.headers.get(GATE))
                    )
        except NoAnswer:
            await asyncio.sleep(patient_reads.RETRY_PAUSE)
        else:
            return found


def _read_due(stored: Stored) -> Due | None:
    if not subjects.is_due(stored.subject):
        return None
    try:
        return decode(stored.data, Due)
    except msgspec.DecodeError as error:
        # The executor that gets it sets it aside; the shard only must not count it.
        _log.error(LogEvent.EVENT_UNREADABLE, subject=stored.subject, seq=stored.seq, error=str(error))
        return None


Chains = dict[tuple[str, str], list[Stored]]
"""By task id and run: the newest message of each subject of the chain, in order."""


async def read_chains(bus: Bus, partition: int, wanted: set[tuple[str, str]], at_least_seq: int) -> Chains:
    """The chains of some executions, from a replica that has reached `at_least_seq`."""
    chains: Chains = defaultdict(list)
    filters = [subjects.chain(partition, task_id, run) for task_id, run in sorted(wanted)]
    room = asyncio.Semaphore(_READS_AT_ONCE)

    async def read(group: list[str]) -> list[Stored]:
        async with room:
            return await patient_reads.last_of_each(bus, EVENTS_STREAM, group, at_least_seq)

    groups = [filters[start : start + _CHAINS_A_READ] for start in range(0, len(filters), _CHAINS_A_READ)]
    for found in await asyncio.gather(*(read(group) for group in groups)):
        for stored in found:
            subject = subjects.parse_event(stored.subject)
            chains[subject.object_id, subject.run].append(stored)
    for messages in chains.values():
        messages.sort(key=lambda stored: stored.seq)
    return chains


def set_to_log(memory: ShardMemory, dues: Sequence[FoundDue], chains: Chains) -> None:
    """Set every flight of the tasks in memory to what its due and its chain say. Raises what that fails with."""
    for found in dues:
        _ = _set_to_due(memory, found, chains.get((found.due.task_id, found.due.run), []))
    for (task_id, run), chain in chains.items():
        task = memory.tasks.get(task_id)
        flight = None if task is None else task.flights.get(run)
        if task is not None and flight is not None:
            _apply_chain(memory, task, flight, chain)


def note_handled(memory: ShardMemory, task_id: str, run: str) -> None:
    """A slot of this run has been handed out: it is not to be emitted again."""
    nominal = parse_slot_run(run)
    if nominal is not None:
        memory.handled.setdefault(task_id, set()).add(int(nominal.timestamp()))


def reconcile(memory: ShardMemory, dues: list[FoundDue], chains: Chains, aside: SetAside) -> list[int]:
    """Step 7: set every flight to what its due and its chain say. A task of which that cannot be made out is set aside.

    Returns the sequences of dues that are over: their chain is terminal, or a later attempt is on its way.
    """
    over: list[int] = []
    for found in dues:
        if found.due.task_id in memory.unreadable:
            # That task stops as it is. A version that can read it goes on from here.
            continue
        with aside.task(found.due.task_id, "finding out what is in flight"):
            chain = chains.get((found.due.task_id, found.due.run), [])
            if not _set_to_due(memory, found, chain):
                over.append(found.seq)
    for (task_id, run), chain in chains.items():
        task = memory.tasks.get(task_id)
        known = None if task is None else task.flights.get(run)
        if task is not None and known is not None:
            with aside.task(task_id, "finding out what is in flight"):
                _apply_chain(memory, task, known, chain)
    return over


def _set_to_due(memory: ShardMemory, found: FoundDue, chain: list[Stored]) -> bool:
    """Set a flight to what its due says; whether that due is still to be worked at."""
    due = found.due
    task = memory.tasks.get(due.task_id)
    note_handled(memory, due.task_id, due.run)
    if task is None or (chain and _ended(chain[-1])):
        return False
    flight = task.flights.get(due.run) or _flight_of_due(memory, task, due)
    if due.attempt < flight.attempt:
        return False
    flight.emitted, flight.gated = True, False
    flight.pool, flight.key = due.pool, found.gate
    # As the executor has it: a late slot's counts from when it was handed out, which no register tells.
    flight.expires_ms = instant_ms(due.expires_at) if due.expires_at else None
    flight.traceparent = found.traceparent or flight.traceparent
    flight.due_seq, flight.cause_seq = found.seq, due.cause_seq
    flight.last_seq = max(flight.last_seq, flight.cause_seq)
    return True


def _ended(stored: Stored) -> bool:
    return subjects.parse_event(stored.subject).name in TERMINAL


def _flight_of_due(memory: ShardMemory, task: TaskState, due: Due) -> Flight:
    flight = Flight(
        run=due.run,
        trigger=Trigger(due.trigger),
        scheduled_ms=instant_ms(due.scheduled_for),
        due_ms=instant_ms(due.due_at),
        emit_ms=instant_ms(due.due_at),
        revision=due.revision,
        written=False,
        attempt=due.attempt,
        cause_seq=due.cause_seq,
        expires_ms=instant_ms(due.expires_at) if due.expires_at else None,
        has_input=due.has_input,
        retry_of=due.retry_of,
    )
    task.take_off(flight)
    memory.note_flights(task)
    return flight


def _apply_chain(memory: ShardMemory, task: TaskState, flight: Flight, chain: list[Stored]) -> None:
    last = chain[-1]
    name = subjects.parse_event(last.subject).name
    flight.first_seq = chain[0].seq
    flight.last_seq = last.seq
    if name in TERMINAL:
        # Folded earlier, into a register that still had the entry only if that register was not written since.
        task.land(flight.run)
        memory.note_flights(task)
        if flight.written:
            memory.note_dirty(task, memory.position + 1)
        return
    flight.started = flight.started or name == "started"
    flight.gated = flight.gated and not flight.started
    cause = "queued" if flight.attempt == 1 else "retrying"
    for stored in chain:
        if subjects.parse_event(stored.subject).name == cause:
            flight.cause_seq = stored.seq
