"""Storing a shard's batches, and reading the broker's answers rightly.

Terms. Every write of a shard to `TASKS` is an atomic *batch* whose first message is the shard register, expecting the
sequence of the shard register before it. That expectation is the *fence*: a leader that was deposed while it was
paused expects a register that is no longer the last, and nothing of its batch is stored, whichever tasks it names.

Safety. Two leaders never both succeed from the same register, since the server checks and stores a batch as one
step. The *nonce* in the register tells a leader whose answer was lost that the newest register is its own.

On each answer:

* stored: the batch's first sequence is the next expectation.
* wrong sequence: read the register from the stream's leader. My nonce: it was stored, the answer was lost. The
  register I expected: a chain in the batch has moved (`ChainMoved`). Anything else: somebody leads after me
  (`Deposed`).
* in process, or certainly not committed: the same batch again.
* no answer: nobody knows whether the batch is stored or will be. Going on would fork memory from log, stepping down
  would flap. So the register alone is written with the same expectation and a new nonce: once that is stored the lost
  batch can never be; if it is refused, the newest register tells which of the two was stored.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

import msgspec

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import IN_PROCESS_PAUSE, InProcess, NoAnswer, NotCommitted, WrongSequence
from gnomon_core.runtime.messages import Outgoing, Stored
from gnomon_scheduler import patient_reads
from gnomon_scheduler.registers import ShardRegister
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode, encode

__all__ = ["ChainMoved", "Committer", "Deposed"]


class Deposed(Exception):
    """Another process leads the shard: nothing more may be done for it here."""


class ChainMoved(Exception):
    """A chain that the batch expected on has moved: nothing of the batch is stored."""


class Committer:
    """Writes the batches of one shard under one epoch. Used by one task only: one batch at a time."""

    def __init__(self, bus: Bus, partition: int, expected: int, current: ShardRegister) -> None:
        self._bus = bus
        self._subject = subjects.shard_register(partition)
        self.expected = expected
        """Sequence of the shard register as it stands; 0: there is none yet."""
        self.current = current
        """What was stored last, or what the first batch starts from."""

    async def store(self, register: ShardRegister, rest: Sequence[Outgoing] = ()) -> int:
        """Store the register and `rest` as one batch; the sequence of the register, which the rest follows in order.

        The register's nonce is set here. Raises Deposed, or ChainMoved where an expectation in `rest` failed.
        """
        register = msgspec.structs.replace(register, nonce=_nonce())
        while True:
            try:
                ack = await self._bus.publish_batch([self._head(register), *rest])
            except (InProcess, NotCommitted):
                await asyncio.sleep(IN_PROCESS_PAUSE)
            except NoAnswer:
                stored_at = await self._settle(register.nonce)
                if stored_at is not None:
                    return self._stored(register, stored_at)
            except WrongSequence:
                stored_at = await self._read_refusal(register.nonce)
                return self._stored(register, stored_at)
            else:
                return self._stored(register, ack.first)

    def _head(self, register: ShardRegister) -> Outgoing:
        return Outgoing(self._subject, encode(register), None, self.expected, None, rollup=True)

    def _stored(self, register: ShardRegister, seq: int) -> int:
        self.expected, self.current = seq, register
        return seq

    async def _read_refusal(self, nonce: str) -> int:
        """What a wrong sequence means: the sequence of my register where it was stored after all."""
        last, register = await self._read()
        if register is not None and last is not None:
            if register.nonce == nonce:
                return last.seq
            if last.seq == self.expected:
                raise ChainMoved
        elif self.expected == 0:
            raise ChainMoved
        raise Deposed(f"the shard register is {last.seq if last else 'gone'}, expected {self.expected}")

    async def _settle(self, lost: str) -> int | None:
        """After a batch without answer: its sequence when it was stored, None when it never will be."""
        probes: set[str] = set()
        while True:
            probe = msgspec.structs.replace(self.current, nonce=_nonce())
            probes.add(probe.nonce)
            try:
                ack = await self._bus.publish_batch([self._head(probe)])
            except (InProcess, NotCommitted, NoAnswer):
                await asyncio.sleep(patient_reads.RETRY_PAUSE)
            except WrongSequence:
                last, register = await self._read()
                if last is None or register is None:
                    raise Deposed("the shard register is gone") from None
                if register.nonce == lost:
                    return last.seq
                if register.nonce not in probes:
                    raise Deposed(f"the shard register is {last.seq}, of epoch {register.epoch}") from None
                self._stored(probe, last.seq)
                return None
            else:
                self._stored(probe, ack.first)
                return None

    async def _read(self) -> tuple[Stored | None, ShardRegister | None]:
        """The newest shard register, from the stream's leader, however long that takes."""
        last = await patient_reads.last(self._bus, subjects.EVENTS_STREAM, self._subject)
        return last, None if last is None else decode(last.data, ShardRegister)


def _nonce() -> str:
    return secrets.token_hex(12)
