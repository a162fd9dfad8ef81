"""The object desk: templates, calendars and accounts, which are kinds like `task` and far simpler.

*Object*: what has an id within its kind, a version, and no slots. Its shard is that of its id. *Register*: its newest
state, `state.<kind>.<p>.<id>` in `TASKS` (of a calendar `state.blackout.<p>.<id>`, because `state.calendar` is what
shards keep of the rules of time zones). *Shelf*: the registers of one partition in memory. *Catalogue*: the part of all
registers that every process knows (`object_catalogue`). *Tombstone*: the register of an object that was deleted.

A command `gnomon.cmd.<kind>.<verb>.<id>` comes by the same door as those to tasks, is taken in the same turn and in
stream order, and is decided by a pure function of its kind (`object_kinds`). The register goes into the same atomic
batch as the event, `<kind>.<event>.<p>.<id>._`, and the shard register at its head. What follows from that:

* *A leader killed before the batch is stored* leaves nothing: the command was not acknowledged, comes again to the
  next leader and is decided then. The shelf of the dead one held what was never stored, and is gone with it.
* *Killed after the batch, before the answer or the acknowledgement*: the command comes again. The next leader has the
  register (it waits for its barrier before it decides anything) and finds the command's id in the register's ring, or
  its position at or below `last_command`: it is answered, and changes nothing.
* *A caller's own retry*, with the same command id, is found in the ring, which the newest 32 commands of the object
  are in; a refusal is in the ring of the shard, as for every command that changes nothing.
* *A stale leader* fails at the shard register that its batch expects, and stores neither register nor event.
* *A register that cannot be decoded* (of a newer version) is set aside, loudly: commands to that object are refused
  as `unreadable_state` and change nothing; the shard goes on with all others.
* *A tombstone* refuses that its id be made anew until the retention times are over (`sweep`); then it is purged,
  exactly, so that an object made meanwhile stays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gnomon_core.runtime.messages import Outgoing
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.telling import command_id
from gnomon_scheduler.object_kinds import KINDS
from gnomon_scheduler.object_registers import ObjectRegister, with_ring
from gnomon_scheduler.registers import RingEntry
from gnomon_scheduler.units import Note, Unit
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.problems import Code, Refused

__all__ = ["DecidedObject", "ObjectDesk"]


class DecidedObject(NamedTuple):
    """What a command did: what is to be stored, and the object right after it."""

    unit: Unit
    reg: ObjectRegister
    created: bool


class ObjectDesk:
    """The objects of one shard, under one leader. To be used inside a turn."""

    def __init__(self, book: Book) -> None:
        self._book = book

    @staticmethod
    def takes(kind: str) -> bool:
        """Whether commands of this kind are the desk's."""
        return kind in KINDS

    def decide(self, command: Command, around: Surroundings) -> DecidedObject:
        """Decide a command of an object's kind, at `around.now_ms`. Raises Refused."""
        kind, shelf = KINDS[command.kind], self._book.memory.objects
        if shelf.unreadable(command.kind, command.object_id):
            raise Refused(
                Code.UNREADABLE_STATE,
                f"the stored state of {command.kind} {command.object_id!r} cannot be read by this version",
            )
        decision = kind.decide(shelf.get(command.kind, command.object_id), command, around)
        reg = with_ring(decision.reg, RingEntry(command_id(command)))
        register = Outgoing(
            subjects.object_register(command.kind, around.partition, reg.object_id), encode(reg), rollup=True
        )
        note = self._book.object_note(command.kind, decision.event, traceparent=command.traceparent)
        # Last: of a command that fails on the way nothing may stay in memory.
        shelf.put(command.kind, reg)
        unit = Unit(
            others=[Note(register, lambda seq: shelf.stored(command.kind, reg.object_id, seq))],
            notes=[note],
            command_seq=command.seq,
        )
        return DecidedObject(unit, reg, decision.created)

    def ring(self, command: Command) -> tuple[RingEntry, ...]:
        """The commands that the object remembers to have been decided."""
        reg = self._book.memory.objects.get(command.kind, command.object_id)
        return () if reg is None else reg.ring

    def shown(self, command: Command, reg: ObjectRegister | None = None) -> dict[str, Any]:
        """The field of the outcome that shows a command's object: right after it, or as it is now. Empty where it is
        deleted."""
        reg = reg or self._book.memory.objects.get(command.kind, command.object_id)
        if reg is None or reg.deleted_ms is not None:
            return {}
        return {command.kind: KINDS[command.kind].view(reg)}
