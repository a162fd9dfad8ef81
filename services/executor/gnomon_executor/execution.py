"""One attempt, step by step: claim, read its input, run its handler, record what became of it, acknowledge.

Reads like a table of contents: each step is a method. What must hold:

* The handler runs only after the claim is stored.
* The message is acknowledged only after the chain is settled: by a result of ours, or by what others put
  there.
* Whoever is refused as taken over sends nothing at all: the message is another's by now.
* The slot is given back when the handler has really ended, not when its result was recorded: a function that
  outlives its timeout still uses this machine.

A hard stop, after the grace: the handler is cancelled or killed. If it returned all the same, that is its
result. If it ended without one, nothing of it is recorded: the attempt is marked as given back on its chain,
so that going on elsewhere counts as no crash, and the message is given back at once. If it cannot be made to
end (a thread), the mark is written but the message is not given back: it comes again after the ack wait, when
this process is gone. So also a stop runs a handler a second time only once the first has ended.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
from msgspec import UNSET

from gnomon import TaskType
from gnomon_core.runtime.bus import BusRefused, NatsBus
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_executor import conclusion, delivery
from gnomon_executor.attempt import Attempt, Interruption, Phase
from gnomon_executor.chain import Row, Taken
from gnomon_executor.claims import Claim, Claims
from gnomon_executor.conclusion import Conclusion, Limits
from gnomon_executor.context import AttemptContext, AttemptFacts
from gnomon_executor.handler_log import LogSink, to_both
from gnomon_executor.inputs import InputMissing, Inputs, read_inputs
from gnomon_executor.jobs import Job
from gnomon_executor.measures import ExecutorMeasures
from gnomon_executor.process_log import ProcessLog
from gnomon_executor.recorder import Recorder
from gnomon_executor.registry import Registry
from gnomon_executor.run_logs import RunLogs
from gnomon_executor.runners import Runners
from gnomon_executor.running import Running
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.tasks import EMPTY_OBJECT

__all__ = ["POLITENESS_SECONDS", "UNWIND_SECONDS", "Executions"]

POLITENESS_SECONDS: Final = 1.0
"""So long does a handler that was cancelled by its owner have to end by itself."""
UNWIND_SECONDS: Final = 1.0
"""So long is a handler that was made to end waited for."""
UNKNOWN_TYPE_DELAY_SECONDS: Final = 5.0
"""After which work of a type that is not run here comes again, to whoever runs it."""
REFUSED_DELAY_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class Executions:
    """Carries attempts out, for one executor."""

    def __init__(
        self,
        bus: NatsBus,
        clock: Clock,
        *,
        registry: Registry,
        runners: Runners,
        running: Running,
        claims: Claims,
        recorder: Recorder,
        progress: Callable[[Attempt, float, str], None],
        run_logs: RunLogs,
        process_log: ProcessLog,
        measures: ExecutorMeasures,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._registry = registry
        self._runners = runners
        self._running = running
        self._claims = claims
        self._recorder = recorder
        self._progress = progress
        self._run_logs = run_logs
        self._process_log = process_log
        self._measures = measures

    async def carry_out(self, attempt: Attempt) -> None:
        """Do everything for one attempt, to the ack. Raises only for a fault of this program."""
        with self._measures.carrying_out(attempt) as traceparent:
            attempt.traceparent = traceparent
            await self._claim_and_carry_on(attempt)

    async def _claim_and_carry_on(self, attempt: Attempt) -> None:
        try:
            known = self._registry.get(attempt.due.task_type) is not None
            if not known and not attempt.expired(self._clock.now_ms()):
                await self._leave(attempt, UNKNOWN_TYPE_DELAY_SECONDS)
                return
            claimed = await self._claims.claim(attempt)
            if claimed.row is not None:
                self._tell_row(attempt, claimed.row)
            if claimed.claim is Claim.OURS:
                await self._carry_on(attempt)
            elif claimed.claim is Claim.OVER:
                await self._acknowledge(attempt)
            elif claimed.claim is Claim.ANOTHERS:
                await self._leave(attempt, claimed.delay_seconds)
        except BusRefused as error:
            _log.error(LogEvent.CLAIM_REFUSED, execution_id=attempt.due.execution_id, error=str(error))
            await self._leave(attempt, REFUSED_DELAY_SECONDS)

    async def _carry_on(self, attempt: Attempt) -> None:
        """The attempt is ours."""
        self._fence_older(attempt)
        if self._registry.get(attempt.due.task_type) is None:
            # Taken over from an executor that ran the type: this one does not, and cannot judge it.
            await self._give_back(attempt, UNKNOWN_TYPE_DELAY_SECONDS)
            return
        try:
            what = await self._run(attempt)
        except InputMissing as error:
            what = conclusion.refused("InputMissing", str(error), "input_missing")
        if what is None:
            return
        attempt.phase = Phase.RECORDING
        self._run_logs.send_soon(attempt)
        row = await self._recorder.record(attempt, what)
        if row is Row.RECORDED:
            self._measures.recorded(attempt, what, self._clock.now_ms())
        else:
            self._measures.settled(row)
        if row is Row.TAKEN_FROM_ME:
            _log.warning(
                LogEvent.RESULT_DROPPED, execution_id=attempt.due.execution_id, attempt=attempt.key[1]
            )
            return
        if row is Row.OVER:
            _log.warning(LogEvent.RESULT_LATE, execution_id=attempt.due.execution_id, attempt=attempt.key[1])
        await self._acknowledge(attempt)

    async def _run(self, attempt: Attempt) -> Conclusion | None:
        """Run the handler; what to record, or None where nothing is to be recorded."""
        task_type = self._registry.get(attempt.due.task_type)
        assert task_type is not None
        attempt.deadline_ms = await self._deadline(attempt)
        inputs = await read_inputs(self._bus, attempt, with_previous=task_type.takes_context)
        if attempt.deadline_ms is not None and attempt.deadline_ms <= self._clock.now_ms():
            attempt.interrupt(Interruption.TOTAL_TIMEOUT)
        # A cancel or a stop may have come while all this was read: then the handler is not begun.
        if attempt.interruption is None:
            attempt.woken = asyncio.get_running_loop().create_future()
            self._start_handler(attempt, task_type, inputs)
            timer = self._start_timer(attempt)
            try:
                await attempt.woken
            finally:
                timer.cancel()
        if attempt.end is not None:
            return conclusion.concluded(
                attempt.end, self._limits(attempt), now_ms=self._clock.now_ms(), draw=random.random()
            )
        return await self._interrupted(attempt)

    def _start_handler(self, attempt: Attempt, task_type: TaskType, inputs: Inputs) -> None:
        due = attempt.due
        facts = AttemptFacts(
            task_id=due.task_id,
            execution_id=due.execution_id,
            attempt=due.attempt,
            scheduled_for=due.scheduled_for,
            deadline_ms=self._attempt_ends_ms(attempt),
            trigger=due.trigger.value,
            trigger_data=inputs.trigger_data,
            user_id=due.user_id,
            fencing_token=attempt.claim_seq,
            previous=inputs.previous,
            metadata=EMPTY_OBJECT if due.metadata is UNSET else due.metadata,
        )
        open_log = partial(self._open_log, attempt)
        attempt.job = Job(
            task_type=task_type,
            decode_config=self._registry.decoder(due.task_type),
            config=inputs.config,
            facts=facts,
            cancelled=attempt.cancelled,
            usage=attempt.usage,
            context=AttemptContext(
                facts,
                attempt.cancelled,
                attempt.usage,
                lambda fraction, message: self._progress(attempt, fraction, message),
                open_log,
                self._clock.now_ms,
            ),
            open_log=open_log,
            handled=attempt,
            on_end=attempt.handler_ended,
        )
        attempt.phase = Phase.RUNNING
        self._measures.started(attempt)
        self._runners.run(attempt.job)

    def _open_log(self, attempt: Attempt) -> LogSink:
        """Where the lines of an attempt's handler go."""
        return to_both(self._run_logs.sink(attempt), self._process_log.sink(attempt))

    def _start_timer(self, attempt: Attempt) -> asyncio.TimerHandle:
        ends_ms = self._attempt_ends_ms(attempt)
        total = attempt.deadline_ms is not None and ends_ms >= attempt.deadline_ms
        why = Interruption.TOTAL_TIMEOUT if total else Interruption.TIMEOUT
        delay = max(0.0, (ends_ms - self._clock.now_ms()) / 1000)
        return asyncio.get_running_loop().call_later(delay, attempt.interrupt, why)

    async def _interrupted(self, attempt: Attempt) -> Conclusion | None:
        """The handler was ended from outside, or never begun."""
        why = attempt.interruption
        if why is Interruption.CANCEL:
            await self._make_end(attempt, POLITENESS_SECONDS)
            return conclusion.cancelled(attempt.end, attempt.cancel_reason, attempt.usage)
        if why is Interruption.TIMEOUT or why is Interruption.TOTAL_TIMEOUT:
            return await self._timed_out(attempt, why)
        await self._make_end(attempt, 0.0)
        if why is Interruption.STOP:
            if attempt.end is not None and attempt.end.how == "returned":
                return conclusion.concluded(
                    attempt.end, self._limits(attempt), now_ms=self._clock.now_ms(), draw=random.random()
                )
            await self._give_back(attempt, 0.0)
        return None

    async def _timed_out(self, attempt: Attempt, why: Interruption) -> Conclusion:
        now_ms = self._clock.now_ms()
        await self._make_end(attempt, 0.0)
        total = why is Interruption.TOTAL_TIMEOUT
        seconds = attempt.due.total_timeout_seconds if total else attempt.due.timeout_seconds
        return conclusion.timed_out(
            "total_timeout" if total else "timeout",
            seconds or 0.0,
            self._limits(attempt),
            now_ms=now_ms,
            draw=random.random(),
            usage=attempt.usage,
        )

    async def _make_end(self, attempt: Attempt, politeness: float) -> None:
        """Tell the handler to stop, and after `politeness` seconds make it. Returns when it has ended, or
        cannot."""
        job = attempt.job
        if job is None or attempt.end is not None:
            return
        ended = attempt.ended = asyncio.Event()
        self._runners.tell_cancelled(job)
        if politeness and await _within(ended, politeness):
            return
        if self._runners.interrupt(job):
            await _within(ended, UNWIND_SECONDS)

    async def _give_back(self, attempt: Attempt, delay: float) -> None:
        """Let another go on with it, without counting a crash."""
        await self._recorder.give_back(attempt)
        if not attempt.handler_running:
            await self._leave(attempt, delay)

    async def _leave(self, attempt: Attempt, delay: float) -> None:
        for given in attempt.deliveries.values():
            await delivery.nak(self._bus, given, delay)

    async def _acknowledge(self, attempt: Attempt) -> None:
        # The deliveries are read at the end: one that came meanwhile has been adopted.
        for given in list(attempt.deliveries.values()):
            if not await delivery.ack(self._bus, given):
                _log.debug(LogEvent.ACK_UNANSWERED, execution_id=attempt.due.execution_id)

    def _fence_older(self, attempt: Attempt) -> None:
        """An earlier attempt that still runs here has been taken over, or this one would not be due."""
        if attempt.due.attempt == 1:
            return
        for other in self._running:
            if other.key[0] == attempt.key[0] and other.key[1] < attempt.key[1]:
                other.interrupt(Interruption.FENCED)

    def _tell_row(self, attempt: Attempt, row: Row | Taken) -> None:
        self._measures.settled(row)
        _log.info(
            LogEvent.CLAIM_SETTLED,
            execution_id=attempt.due.execution_id,
            attempt=attempt.due.attempt,
            row=row.name.lower(),
            takeovers=attempt.takeovers,
        )

    async def _deadline(self, attempt: Attempt) -> int | None:
        """End of all attempts, epoch milliseconds."""
        due = attempt.due
        if due.deadline is not None:
            return instant_ms(due.deadline)
        if due.total_timeout_seconds is None:
            return None
        if due.attempt == 1 and attempt.takeovers == 0:
            attempt.first_started = attempt.started_at
        first = await self._recorder.first_started(attempt)
        return instant_ms(first) + round(due.total_timeout_seconds * 1000)

    def _attempt_ends_ms(self, attempt: Attempt) -> int:
        ends_ms = attempt.started_ms + round(attempt.due.timeout_seconds * 1000)
        return ends_ms if attempt.deadline_ms is None else min(ends_ms, attempt.deadline_ms)

    def _limits(self, attempt: Attempt) -> Limits:
        return Limits(attempt.due.retry, attempt.due.attempt, attempt.deadline_ms)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event at most so long; whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
