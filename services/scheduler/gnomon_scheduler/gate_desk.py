"""The gate desk: keeps the gates that live in a shard. See ADR 0016; what is decided is in `decisions.gates`.

In a turn it takes the statements that came, gives what is free, and hands in the registers that have changed as units;
its answers are sent once these are stored. A leader that was deposed finds that out when it stores, and answers
nothing.

A gate whose register cannot be read (of a newer version), or about which deciding fails, is *set aside*: it is not
known what was granted to whom. Nobody is answered, so every shard keeps what is out and lets nothing more go (`leave`);
commands to the pool are refused, and nothing is stored over the register. A later leader that can read it goes on.
"""

from __future__ import annotations

from collections import defaultdict, deque

import structlog

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.messages import Outgoing
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.gates import Gate
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_scheduler.guard import Guard
from gnomon_scheduler.long_messages import in_messages
from gnomon_scheduler.units import Note, Unit
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.gates import GateKind, Grant, Grants, Statements

__all__ = ["GateDesk"]

_log = structlog.get_logger(__name__)


class GateDesk:
    """The gates of one shard, under one leader."""

    def __init__(self, bus: Bus, book: Book, partitions: int) -> None:
        self._bus, self._book, self._partitions = bus, book, partitions
        self.heard: deque[Statements] = deque()
        """What shards said, to be taken in the next turn."""
        self._gates: dict[tuple[GateKind, str], Gate] = {}
        self._stirred: set[tuple[GateKind, str]] = set()
        self._next: dict[tuple[GateKind, str], int] = {}
        self._answers: dict[int, list[Grant]] = defaultdict(list)
        for kind, gate in book.memory.gates:
            if kind == "pool":
                # Shards that have not stated since it was opened are to be asked.
                self.stir(kind, gate)

    def gate(self, kind: GateKind, gate: str) -> Gate:
        """The gate of a pool or key; a new one where there is none yet."""
        found = self._gates.get((kind, gate))
        if found is None:
            kept = self._book.memory.gates.get((kind, gate))
            reg = GateRegister(gate=gate, kind=kind) if kept is None else kept.reg
            found = self._gates[kind, gate] = Gate(reg, self._partitions)
        return found

    def settings(self, pool: str) -> GateRegister:
        """What is set of a pool that is not set aside."""
        return self.gate("pool", pool).settings

    def set_aside(self, kind: GateKind, gate: str) -> bool:
        """Whether nothing is decided about a pool or key."""
        return (kind, gate) in self._book.memory.unreadable_gates

    def set(self, reg: GateRegister) -> Unit:
        """Give a pool other settings: the unit that stores them."""
        gate = self.gate(reg.kind, reg.gate)
        gate.set(reg)
        self.stir(reg.kind, reg.gate)
        return self._unit(gate)

    def stir(self, kind: GateKind, gate: str) -> None:
        """Have a gate looked at in the next turn."""
        self._stirred.add((kind, gate))

    @property
    def next_ms(self) -> int | None:
        """When some gate is to be looked at if nobody says anything; None: none is."""
        if self.heard or self._stirred:
            return 0
        return min(self._next.values(), default=None)

    def decide(self, now_ms: int) -> list[Unit]:
        """Take what was said, and give what is free: the registers to store."""
        while self.heard:
            said = self.heard.popleft()
            for statement in said.statements:
                name = (statement.kind, statement.gate)
                if not self.set_aside(*name):
                    with self._guard(name, "hearing what a shard states"):
                        self.gate(*name).hear(said.shard, said.epoch, statement, self._book.now_ms())
                        self.stir(*name)
        self._stirred |= {name for name, at_ms in self._next.items() if at_ms <= now_ms}
        units: list[Unit] = []
        for name in sorted(self._stirred):
            if not self.set_aside(*name):
                with self._guard(name, "giving what is free"):
                    units += self._give(name, now_ms)
        self._stirred.clear()
        return units

    def _give(self, name: tuple[GateKind, str], now_ms: int) -> list[Unit]:
        gate = self.gate(*name)
        gate.give(now_ms)
        units = [self._unit(gate)] if gate.changed else []
        for shard, grant in gate.answers():
            self._answers[shard].append(grant)
        at_ms = gate.next_ms(now_ms)
        if at_ms is None:
            self._next.pop(name, None)
        else:
            self._next[name] = at_ms
        return units

    def _guard(self, name: tuple[GateKind, str], doing: str) -> Guard:
        def failed(error: Exception) -> None:
            kind, gate = name
            _log.error(
                LogEvent.GATE_SET_ASIDE,
                partition=self._book.partition,
                kind=kind,
                gate=gate,
                doing=doing,
                error=repr(error),
                exc_info=error,
            )
            self._book.memory.put_gate_aside(kind, gate)
            self._gates.pop(name, None)
            self._next.pop(name, None)

        return Guard(failed)

    def _unit(self, gate: Gate) -> Unit:
        gate.changed = False
        reg = gate.register()
        subject = subjects.gate_register(reg.kind, self._book.partition, reg.gate)
        memory = self._book.memory
        register = Outgoing(subject, encode(reg), rollup=True)
        return Unit(others=[Note(register, lambda seq: memory.apply_gate(seq, reg))])

    async def answer(self) -> None:
        """Send what was granted, now that it is stored."""
        if not self._answers:
            return
        answers, self._answers = self._answers, defaultdict(list)
        partition = self._book.partition
        await self._bus.send_all(
            [
                (subjects.gate_grants(shard), data)
                for shard, grants in answers.items()
                for data in in_messages(grants, lambda some: Grants(partition=partition, grants=some))
            ]
        )

    def forget_idle(self, gate: str, seq: int) -> None:
        """A key's register was removed, as stored at `seq`: start from nothing where the key is used again.

        To be called inside a turn.
        """
        if self._book.memory.idle_keys.get(gate) != seq:
            return
        del self._book.memory.idle_keys[gate]
        kept = self._gates.get(("key", gate))
        if kept is not None and kept.idle:
            del self._gates["key", gate]
            self._next.pop(("key", gate), None)
