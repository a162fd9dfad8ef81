"""What an attempt needs besides its due: trigger data, overrides of the config, the task's last success.

They are in the event log and are read once the attempt is claimed, only where the due says that they exist
and the handler can use them.
"""

from __future__ import annotations

import asyncio

import msgspec

from gnomon_core.rules.merge_patch import merge_patch
from gnomon_core.runtime.bus import Bus, NoAnswer
from gnomon_core.runtime.messages import Stored
from gnomon_executor.attempt import Attempt
from gnomon_executor.chain_writer import READ_PAUSE_SECONDS
from gnomon_executor.context import PreviousFacts
from gnomon_schemas import subjects
from gnomon_schemas.events import Executed, Queued
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.tasks import NULL

__all__ = ["InputMissing", "Inputs", "read_inputs"]

_queued = msgspec.json.Decoder(Queued).decode
_executed = msgspec.json.Decoder(Executed).decode


class InputMissing(Exception):
    """The due says that there is input, and the event that holds it is not there or cannot be read."""


class Inputs(msgspec.Struct, frozen=True):
    """What a handler is given."""

    config: bytes
    """JSON, overrides merged in."""
    trigger_data: msgspec.Raw = NULL
    previous: PreviousFacts | None = None


async def read_inputs(bus: Bus, attempt: Attempt, *, with_previous: bool) -> Inputs:
    """Read what the due refers to. Asks until the broker answers. Raises InputMissing, BusRefused."""
    due = attempt.due
    config, trigger_data = bytes(due.config), NULL
    if due.has_input:
        queued = await _read_queued(bus, attempt)
        trigger_data = queued.trigger_data
        if queued.config_overrides != NULL:
            config = _merged(config, bytes(queued.config_overrides))
    previous = await _read_previous(bus, attempt) if with_previous and due.previous is not None else None
    return Inputs(config, trigger_data, previous)


def _merged(config: bytes, overrides: bytes) -> bytes:
    return msgspec.json.encode(merge_patch(msgspec.json.decode(config), msgspec.json.decode(overrides)))


async def _read_queued(bus: Bus, attempt: Attempt) -> Queued:
    due = attempt.due
    stored = await _last(bus, subjects.event("task", "queued", attempt.partition, due.task_id, due.run))
    if stored is None:
        raise InputMissing(f"the event with the input of {due.execution_id} is not in the log any more")
    try:
        return _queued(stored.data)
    except msgspec.DecodeError as error:
        raise InputMissing(
            f"the event with the input of {due.execution_id} cannot be read: {error}"
        ) from error


async def _read_previous(bus: Bus, attempt: Attempt) -> PreviousFacts | None:
    """The last success; None where its event has left the log: what it returned is not known any more."""
    due = attempt.due
    assert due.previous is not None
    run = due.previous.run
    stored = await _last(bus, subjects.event("task", "executed", attempt.partition, due.task_id, run))
    if stored is None:
        return None
    try:
        return PreviousFacts(at=due.previous.at, run=run, result=_executed(stored.data).result)
    except msgspec.DecodeError:
        return None


async def _last(bus: Bus, subject: str) -> Stored | None:
    while True:
        try:
            return await bus.last(EVENTS_STREAM, subject)
        except NoAnswer:
            await asyncio.sleep(READ_PAUSE_SECONDS)
