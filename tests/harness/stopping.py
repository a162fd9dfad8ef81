"""A bus that stops its process, or deceives it, at a chosen write: failures put where they hurt.

A *trap* names writes by kind and subject and says what happens at the n-th of them:

| `do` | what happens |
|---|---|
| `kill` | the process kills itself (SIGKILL) |
| `pause` | the process stops itself (SIGSTOP); the test lets it go on with SIGCONT |
| `hold` | this one call waits until the test releases it: a pause, for a shard inside the test's own process |
| `lose` | the write is made and its answer lost: `NoAnswer` |
| `drop` | the write is lost on its way: `NoAnswer`, and it is never stored |
| `late` | `NoAnswer` now; the write comes out of the buffer when the test releases it |
| `in_process`, `not_committed` | the broker's refusals of that name; nothing is stored |

`kill`, `pause` and `hold` come `before` the write or `after` it, when it is stored and the caller does not know yet.
In a child process the traps come from the environment (`TRAPS_VARIABLE`), and each that is about to stop the process
says so on standard output first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Final, Literal, TypeVar

import msgspec

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import InProcess, NoAnswer, NotCommitted
from gnomon_core.runtime.client import NatsClient
from gnomon_core.runtime.messages import BatchAck, Outgoing, PubAck
from gnomon_schemas.subjects import WRITE_DOOR

__all__ = ["TRAPS_VARIABLE", "TRAP_SPRUNG", "Trap", "TrapBus", "trap_bus_from"]

TRAPS_VARIABLE: Final = "GNOMON_TEST_TRAPS"
"""Traps of a child process, as JSON."""
TRAP_SPRUNG: Final = "test.trap"
"""The event that a child process logs right before a trap stops it."""

Do = Literal["kill", "pause", "hold", "lose", "drop", "late", "in_process", "not_committed"]
T = TypeVar("T")


class _TrapFields(msgspec.Struct, kw_only=True):
    subject: str = "*"
    """Pattern of the shell's kind over stored subjects, so `task.due.*`; a batch matches when one of its messages
    does."""
    on: Literal["publish", "batch", "send", "any"] = "any"
    """`publish` and `batch` are writes to streams, `send` is core NATS."""
    do: Do = "hold"
    when: Literal["before", "after"] = "before"
    nth: int = 1
    """The first write that matches and is caught."""
    times: int = 1
    """How many writes are caught, from the n-th on."""
    flush: bool = False
    """Before the process is stopped, what it sent before goes out: an answer may still lie in its buffers."""
    without: str | None = None
    """Not where the write (or one message of the batch) matches this pattern too."""


class Trap(_TrapFields, dict=True, kw_only=True):
    """One trap. `reached` is set when it catches something; `release` lets held or late writes go."""

    def __post_init__(self) -> None:
        self.seen = 0
        self.reached = asyncio.Event()
        self.released = asyncio.Event()
        self.late: list[asyncio.Task[object]] = []
        """Writes that came late: each ends with its acknowledgement or its refusal."""

    def catches(self, kind: str, names: Sequence[str]) -> bool:
        """Whether this write is caught. Counts it."""
        if self.on not in {kind, "any"} or not any(fnmatchcase(name, self.subject) for name in names):
            return False
        if self.without is not None and any(fnmatchcase(name, self.without) for name in names):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times

    def release(self) -> None:
        """Let what is held go on, and what is late come out."""
        self.released.set()

    def as_text(self) -> dict[str, object]:
        """The trap as a child process reads it."""
        return {name: getattr(self, name) for name in _TrapFields.__struct_fields__}


class TrapBus(NatsBus):
    """The real bus with traps in it."""

    def __init__(self, nc: NatsClient, traps: Sequence[Trap] = ()) -> None:
        super().__init__(nc)
        self.traps = list(traps)

    def trap(self, subject: str = "*", do: Do = "hold", **fields: object) -> Trap:
        """Set another trap."""
        trap = msgspec.convert({"subject": subject, "do": do, **fields}, Trap)
        self.traps.append(trap)
        return trap

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int | None = None,
        expected_subject: str | None = None,
        msg_ttl: float | None = None,
        timeout: float = 5.0,
    ) -> PubAck:
        """See `NatsBus`."""
        write = partial(
            super().publish,
            subject,
            data,
            headers,
            expected=expected,
            expected_subject=expected_subject,
            msg_ttl=msg_ttl,
            timeout=timeout,
        )
        if headers and "Nats-Expected-Stream" in headers:
            return await write()  # the start's own question whether a stream takes writes yet; never stored
        return await self._pass("publish", [subject], write)

    async def publish_batch(
        self, messages: Sequence[Outgoing], *, door: bool = True, timeout: float = 5.0
    ) -> BatchAck:
        """See `NatsBus`."""
        write = partial(super().publish_batch, list(messages), door=door, timeout=timeout)
        return await self._pass("batch", [message.subject for message in messages], write)

    async def send(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """See `NatsBus`."""
        await self._pass("send", [subject], partial(super().send, subject, data, headers))

    async def send_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See `NatsBus`. One by one, so that a trap may lie between two of them."""
        for subject, data in messages:
            await self.send(subject, data)

    async def _pass(self, kind: str, subjects: list[str], write: Callable[[], Awaitable[T]]) -> T:
        names = [subject.removeprefix(WRITE_DOOR) for subject in subjects]
        caught = [trap for trap in self.traps if trap.catches(kind, names)]
        for trap in caught:
            await self._before(trap, names, write)
        answer = await write()
        for trap in caught:
            if trap.do == "lose":
                trap.reached.set()
                raise NoAnswer("lost by a trap")
            if trap.when == "after":
                await self._stop(trap, names)
        return answer

    async def _before(self, trap: Trap, names: list[str], write: Callable[[], Awaitable[object]]) -> None:
        match trap.do:
            case "lose":
                return  # the write is made; its answer is lost in `_pass`
            case "drop":
                trap.reached.set()
                raise NoAnswer("dropped by a trap")
            case "late":

                async def later() -> object:
                    await trap.released.wait()
                    return await write()

                trap.late.append(asyncio.create_task(later(), name="late write"))
                trap.reached.set()
                raise NoAnswer("delayed by a trap")
            case "in_process":
                trap.reached.set()
                raise InProcess("by a trap (error 10164)")
            case "not_committed":
                trap.reached.set()
                raise NotCommitted("by a trap (error 10176)")
            case _:
                if trap.when == "before":
                    await self._stop(trap, names)

    async def _stop(self, trap: Trap, names: list[str]) -> None:
        trap.reached.set()
        if trap.do == "hold":
            await trap.released.wait()
            return
        if trap.flush:
            await self.nc.flush(5)
        line = {"event": TRAP_SPRUNG, "do": trap.do, "when": trap.when, "subjects": names}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL if trap.do == "kill" else signal.SIGSTOP)


def trap_bus_from(environ: Mapping[str, str]) -> Callable[[NatsClient], NatsBus]:
    """What makes the bus of a child process, with the traps that its environment names."""

    def make(nc: NatsClient) -> NatsBus:
        return TrapBus(nc, msgspec.json.decode(environ.get(TRAPS_VARIABLE) or "[]", type=list[Trap]))

    return make
