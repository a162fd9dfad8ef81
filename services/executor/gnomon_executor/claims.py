"""Claiming an attempt: the claim table, row by row.

The first publish says `started`, expecting the chain to end at the due's `cause_seq`. Nearly always it is
stored, and that is all. Everything else - refused, in process, no answer - is settled by reading the chain's
last event from the stream's leader and doing what its row says (`chain.claim_row`); most rows lead to a
further publish, which again may be refused, so it goes round until the chain says that the attempt is ours,
another's, or over.

What each failure leaves behind:

* Killed before the claim is stored: nothing; the message is delivered again after the ack wait.
* Killed after it: a `started` by a process that does not answer; the next one delivered takes over.
* The answer lost: the same claim again is refused, and the row `MINE` recognises it.
* Two claimants at once: one is stored, the other reads the winner's `started` and asks it.
* Paused for longer than the ack wait: taken over; whatever it publishes later expects a sequence that is no
  longer the last, and is refused.

Asking. An executor that has claimed answers on `gnomon.executor.<id>.claims` whether it is still running the
attempt. Silence for two seconds counts as gone - but only on a connection that has itself been up for a
while: just after the broker comes back, everybody is still reconnecting, and silence means nothing. On a
young connection it is asked for so much longer, so that work redelivered to an executor that was started in
the place of a dead one is not kept waiting by another round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from gnomon_core.runtime.bus import (
    IN_PROCESS_PAUSE,
    Bus,
    InProcess,
    NoAnswer,
    NoResponders,
    NotCommitted,
    WrongSequence,
)
from gnomon_core.runtime.clock import Clock
from gnomon_executor.attempt import Attempt, AttemptKey
from gnomon_executor.chain import ChainEnd, Row, Taken, claim_row, taken_row
from gnomon_executor.chain_writer import READ_PAUSE_SECONDS, ChainWriter, Message
from gnomon_executor.conclusion import crash_looped
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.members import ClaimAnswer, ClaimQuestion

__all__ = ["ASK_SECONDS", "Answer", "Asker", "Claim", "Claimed", "Claims"]

ASK_SECONDS: Final = 2.0
"""So long is an executor asked before its silence counts."""
SETTLED_CONNECTION_SECONDS: Final = 1.0
"""Silence on a connection younger than this proves nothing. Clients try to reconnect every 0.2 s."""
_AGAIN_SECONDS: Final = 0.2
UNSURE_DELAY_SECONDS: Final = 1.0
_SILENCE_HOLDS_SECONDS: Final = 3.0
"""For so long nobody asks again an executor that was silent: of one that died there may be a hundred
claims."""


class Answer(Enum):
    """What asking an executor came to."""

    RUNNING = "it runs the attempt"
    GONE = "it does not run the attempt, or does not answer"
    UNSURE = "no answer, and this process's own connection did not hold meanwhile"


class Claim(Enum):
    """What a claim came to."""

    OURS = "run it"
    OVER = "acknowledge it, nothing else"
    ADOPTED = "this process runs it already, and has taken the delivery over"
    ANOTHERS = "another runs it: give the message back with a delay"


class Claimed(NamedTuple):
    """What a claim came to, and after which delay the message should come again where it is another's."""

    claim: Claim
    row: Row | Taken | None = None
    """The row of the table that decided; None where the first publish was stored."""
    delay_seconds: float = 0.0


class _Step(NamedTuple):
    """The next publish: the sequence it expects, and the row that led to it (None: the due itself)."""

    expected: int
    row: Row | Taken | None


_FIRST_CLAIM: Final = (None, Row.UNCLAIMED)


class Asker:
    """Asks other executors whether they still run what they have claimed."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._silent: dict[str, tuple[float, int]] = {}

    async def ask(self, last: ChainEnd, key: AttemptKey) -> Answer:
        """Ask the executor that stands last on the chain.

        Takes up to `ASK_SECONDS`, counted from when this process's connection is settled.
        """
        if last.executor is None:
            return Answer.GONE
        if self._known_silent(last.executor):
            return Answer.GONE
        generation, since = self._bus.generation, self._bus.connected_since
        if since is None:
            await asyncio.sleep(READ_PAUSE_SECONDS)
            return Answer.UNSURE
        until = max(time.monotonic(), since + SETTLED_CONNECTION_SECONDS) + ASK_SECONDS
        question = encode(ClaimQuestion(execution_id=key[0], attempt=key[1], nonce=last.nonce))
        while (left := until - time.monotonic()) > 0:
            try:
                # Asked again after a while: whoever is back only now has not heard the first question.
                message = await self._bus.request(
                    subjects.executor_claims(last.executor), question, min(left, ASK_SECONDS / 2)
                )
                return Answer.RUNNING if decode(message.data, ClaimAnswer).running else Answer.GONE
            except NoResponders:
                # Nobody listens *now*: it may be about to reconnect.
                await asyncio.sleep(min(_AGAIN_SECONDS, max(0.0, left)))
            except NoAnswer:
                await asyncio.sleep(min(READ_PAUSE_SECONDS, max(0.0, left)))
            except msgspec.DecodeError:
                return Answer.GONE
        if not self._bus.connected or self._bus.generation != generation:
            return Answer.UNSURE
        self._silent[last.executor] = (time.monotonic(), generation)
        return Answer.GONE

    def _known_silent(self, executor: str) -> bool:
        known = self._silent.get(executor)
        if known is None:
            return False
        at, generation = known
        if generation == self._bus.generation and time.monotonic() - at < _SILENCE_HOLDS_SECONDS:
            return True
        del self._silent[executor]
        return False


class Claims:
    """Claims attempts for one executor.

    `runs` tells whether this process runs the attempt that a nonce names; `takeover_limit` is how many
    take-overs an attempt may have; `ack_wait` (seconds) is how long a message of another's comes again.
    """

    def __init__(
        self,
        bus: Bus,
        writer: ChainWriter,
        clock: Clock,
        *,
        executor_id: str,
        runs: Callable[[AttemptKey, str], bool],
        takeover_limit: int,
        ack_wait: float,
    ) -> None:
        self._bus = bus
        self._writer = writer
        self._clock = clock
        self._me = executor_id
        self._runs = runs
        self._limit = takeover_limit
        self._ack_wait = ack_wait
        self._asker = Asker(bus)

    async def claim(self, attempt: Attempt) -> Claimed:
        """Claim an attempt. Raises BusRefused where the broker refuses for a reason of its own."""
        step = _Step(attempt.due.cause_seq, None)
        while True:
            message, claims = self._message(attempt, step)
            try:
                seq = await self._writer.store(attempt, message, step.expected)
            except NotCommitted:
                await asyncio.sleep(READ_PAUSE_SECONDS)
                continue
            except WrongSequence as refusal:
                last = await self._writer.last(attempt, refusal.last_seq)
            except (InProcess, NoAnswer):
                await asyncio.sleep(IN_PROCESS_PAUSE)
                last = await self._writer.last(attempt)
            else:
                attempt.claim_seq = seq
                return Claimed(Claim.OURS if claims else Claim.OVER, step.row)
            settled = await self._by_the_table(attempt, last)
            if isinstance(settled, Claimed):
                return settled
            step = settled

    def _message(self, attempt: Attempt, step: _Step) -> tuple[Message, bool]:
        """What to publish next, and whether it claims the attempt."""
        now_ms = self._clock.now_ms()
        if step.row is Taken.CRASH_LOOP:
            return self._writer.executed(attempt, crash_looped(attempt.takeovers), now_ms), False
        # Only a claim that nobody has made before can come too late; what has started is taken over however
        # late.
        if step.row in _FIRST_CLAIM and attempt.expired(now_ms):
            return self._writer.missed(attempt, now_ms), False
        attempt.started_ms, attempt.started_at = now_ms, format_instant(now_ms)
        return self._writer.started(attempt), True

    async def _by_the_table(self, attempt: Attempt, last: ChainEnd | None) -> Claimed | _Step:
        """One row of the table: what the chain's last event asks for."""
        row = claim_row(
            last,
            cause_seq=attempt.due.cause_seq,
            attempt=attempt.due.attempt,
            me=self._me,
            nonce=attempt.nonce,
            running=last is not None and self._runs(attempt.key, last.nonce),
        )
        if row is Row.UNCLAIMED:
            return _Step(last.seq if last is not None else 0, row)
        if last is None or row is Row.OVER:
            return Claimed(Claim.OVER, Row.OVER)
        if row is Row.MINE:
            attempt.claim_seq, attempt.takeovers = last.seq, last.takeovers
            attempt.started_ms, attempt.started_at = instant_ms(last.started_at), last.started_at
            return Claimed(Claim.OURS, row)
        if row is Row.RUNNING_HERE:
            return Claimed(Claim.ADOPTED, row)
        attempt.takeovers = last.takeovers
        if row is Row.GIVEN_BACK:
            return _Step(last.seq, row)
        if row is Row.DROPPED_HERE:
            # This process lives, but the attempt did not get through it. It counts as a take-over, or a fault
            # of ours that drops the same attempt every time would go round for ever.
            return self._take_over(attempt, last, row)
        return await self._ask(attempt, last)

    async def _ask(self, attempt: Attempt, last: ChainEnd) -> Claimed | _Step:
        """The rows of an attempt that another executor has claimed."""
        answer = await self._asker.ask(last, attempt.key)
        if answer is Answer.UNSURE:
            return Claimed(Claim.ANOTHERS, Taken.LEAVE, UNSURE_DELAY_SECONDS)
        if answer is Answer.RUNNING:
            return Claimed(Claim.ANOTHERS, Taken.LEAVE, self._ack_wait)
        return self._take_over(attempt, last, Taken.TAKE_OVER)

    def _take_over(self, attempt: Attempt, last: ChainEnd, row: Row | Taken) -> _Step:
        if taken_row(False, last, self._limit) is Taken.CRASH_LOOP:
            return _Step(last.seq, Taken.CRASH_LOOP)
        attempt.takeovers = last.takeovers + 1
        return _Step(last.seq, row)
