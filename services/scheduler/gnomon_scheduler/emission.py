"""Publishing dues under a shard's due fence.

Terms. The *due fence* is one message per shard in `TASK_DUE`, rolled up by each new leader with its epoch. Every
publish of dues expects its sequence: alone as an awaited publish, several as one atomic batch with the check on its
first message. One is in flight at a time.

Safety. A leader that was paused and resumes cannot emit a due of a schedule that has changed since: its successor
rolled the fence up, and the publish is refused. Nobody rolls up a fence of a higher epoch.

No answer. A due whose publish timed out may be stored now or later (it may still lie in a buffer). So the fence is
rolled up again, which excludes "later", and then `TASK_DUE` and the chains are read: a due was emitted if and only if
it is there or its chain has an event newer than its cause. Until that is known nothing else happens in the shard.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import IN_PROCESS_PAUSE, InProcess, NoAnswer, NotCommitted, WrongSequence
from gnomon_core.runtime.messages import Outgoing
from gnomon_scheduler.commit import Deposed
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.dues import DueFence

__all__ = ["DueName", "Emitter", "OutgoingDue"]

_GROUP_MAX = 500
_GROUP_BYTES = 4 * 1024 * 1024
_RETRY_PAUSE = 0.05


class DueName(msgspec.Struct, frozen=True, gc=False):
    """Which attempt of which execution a due is: the part of it that emission looks at."""

    execution_id: str
    attempt: int


class OutgoingDue(NamedTuple):
    """A due to publish."""

    subject: str
    data: bytes
    headers: dict[str, str]
    chain: str
    """The execution's chain, as a filter."""
    cause_seq: int
    name: DueName


class Emitter:
    """Publishes the dues of one shard under one epoch. Used by one task only."""

    def __init__(self, bus: Bus, partition: int, epoch: int, owner: str) -> None:
        self._bus = bus
        self._partition = partition
        self._fence_subject = subjects.due_fence(partition)
        self._epoch, self._owner = epoch, owner
        self.fence = 0
        """Sequence of the fence as I rolled it up."""
        self._newest = 0

    async def take_fence(self) -> int:
        """Roll the fence up for my epoch; its sequence. Raises Deposed where a higher epoch holds it."""
        nonces: set[str] = set()
        while True:
            try:
                last = await self._bus.last(subjects.DUE_STREAM, self._fence_subject)
                if last is not None:
                    holder = decode(last.data, DueFence)
                    if holder.epoch > self._epoch:
                        raise Deposed(f"epoch {holder.epoch} holds the due fence, mine is {self._epoch}")
                    if holder.nonce in nonces:
                        self.fence = last.seq
                        return self.fence
                fence = DueFence(epoch=self._epoch, owner=self._owner, nonce=secrets.token_hex(12))
                nonces.add(fence.nonce)
                ack = await self._bus.store(
                    self._fence_subject,
                    encode(fence),
                    {h.ROLLUP: h.OF_THE_SUBJECT},
                    expected=0 if last is None else last.seq,
                )
            except WrongSequence:
                continue
            except (InProcess, NotCommitted, NoAnswer):
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                self.fence = ack.seq
                return self.fence

    async def emit(self, dues: Iterable[OutgoingDue]) -> list[int]:
        """Publish dues; their sequences in `TASK_DUE`, 0 for one that was stored and has been consumed already.

        They are taken from `dues` a group at a time: no more than a group is encoded at once, and between two groups
        others have their turn. Returns only when each of them is known to be stored. Raises Deposed.
        """
        sequences: list[int] = []
        for group in _groups(dues):
            sequences += await self._emit_group(group)
        return sequences

    async def _emit_group(self, group: Sequence[OutgoingDue]) -> list[int]:
        found: dict[DueName, int] = {}
        while True:
            rest = [due for due in group if due.name not in found]
            try:
                if rest:
                    first = await self._publish(rest)
                    found |= {due.name: first + index for index, due in enumerate(rest)}
                    self._newest = first + len(rest) - 1
                return [found[due.name] for due in group]
            except (InProcess, NotCommitted):
                await asyncio.sleep(IN_PROCESS_PAUSE)
            except (WrongSequence, NoAnswer):
                await self.take_fence()
                found |= await self._find(rest)

    async def _publish(self, dues: Sequence[OutgoingDue]) -> int:
        """Publish dues at once; the sequence of the first."""
        if len(dues) == 1:
            due = dues[0]
            ack = await self._bus.store(
                due.subject,
                due.data,
                due.headers,
                expected=self.fence,
                expected_subject=self._fence_subject,
            )
            return ack.seq
        messages = [Outgoing(due.subject, due.data, due.headers) for due in dues]
        messages[0] = messages[0]._replace(expected=self.fence, expected_subject=self._fence_subject)
        return (await self._bus.publish_batch(messages)).first

    async def _find(self, dues: Sequence[OutgoingDue]) -> dict[DueName, int]:
        """Which of the dues are stored, now that the new fence excludes that any comes later."""
        while True:
            try:
                present = {
                    decode(stored.data, DueName): stored.seq
                    async for stored in self._bus.scan(
                        subjects.DUE_STREAM,
                        subjects.due_filter(self._partition),
                        start_seq=self._newest + 1,
                        at_least_seq=self.fence,
                    )
                    if stored.subject != self._fence_subject
                }
                found = {due.name: present[due.name] for due in dues if due.name in present}
                for due in dues:
                    if due.name not in found:
                        # From the stream's leader: a lagging replica would show a claimed slot as never emitted.
                        last = await self._bus.last(subjects.EVENTS_STREAM, due.chain)
                        if last is not None and last.seq > due.cause_seq:
                            found[due.name] = 0
            except NoAnswer:
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                return found


def _groups(dues: Iterable[OutgoingDue]) -> Iterator[Sequence[OutgoingDue]]:
    group: list[OutgoingDue] = []
    size = 0
    for due in dues:
        if len(group) >= _GROUP_MAX or (group and size + len(due.data) > _GROUP_BYTES):
            yield group
            group, size = [], 0
        group.append(due)
        size += len(due.data)
    if group:
        yield group
