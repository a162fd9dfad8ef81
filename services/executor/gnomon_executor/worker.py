"""The worker: takes deliveries, carries each attempt out in a task of its own, and stops in two breaths.

Everything here runs on the main loop, with the connection. Handlers run elsewhere (`runners`), so neither a
handler that blocks nor one that computes holds up a claim, a result or an in-progress ack.

Stopping. First breath: no more pulls; what was on its way is given back at once; attempts in hand go on, up
to the grace. Second breath: what is left is made to end (`execution` tells how), and whatever then still
cannot be recorded - the broker is away, a function does not return - is left to the ack wait: another
executor takes it over. In no case is a message acknowledged whose chain is not settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Final

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.clock import Clock, ClockGuard
from gnomon_core.runtime.service import Service, ServiceState
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_executor import delivery as answers
from gnomon_executor.attempt import Attempt, Interruption
from gnomon_executor.chain_writer import ChainWriter
from gnomon_executor.claims import Claims
from gnomon_executor.delivery import Delivery
from gnomon_executor.execution import POLITENESS_SECONDS, UNWIND_SECONDS, Executions
from gnomon_executor.heartbeat import Heartbeat
from gnomon_executor.intake import Intake
from gnomon_executor.measures import ExecutorMeasures
from gnomon_executor.process_log import ProcessLog
from gnomon_executor.recorder import Recorder
from gnomon_executor.registry import Registry
from gnomon_executor.run_logs import RunLogs
from gnomon_executor.runners import Runners
from gnomon_executor.running import Running
from gnomon_executor.settings import ExecutorSettings
from gnomon_executor.signals import Signals
from gnomon_executor.undecodable import SetAside
from gnomon_schemas.dues import Due
from gnomon_schemas.subjects import parse_due

__all__ = ["LAST_BREATH_SECONDS", "Worker"]

CLOCK_OFF_DELAY_SECONDS: Final = 2.0
LAST_BREATH_SECONDS: Final = UNWIND_SECONDS + POLITENESS_SECONDS + 2.0
"""After the grace, for making handlers end and for giving their attempts back."""

_log = structlog.get_logger(__name__)
_decode_due = msgspec.json.Decoder(Due).decode


class Worker(Service):
    """Runs work for one executor. `on_draining` is told when it takes no more."""

    def __init__(
        self,
        bus: NatsBus,
        clock: Clock,
        guard: ClockGuard,
        settings: ExecutorSettings,
        registry: Registry,
        *,
        executor_id: str,
        pools: tuple[str, ...],
        measures: ExecutorMeasures,
        on_draining: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("worker")
        self._bus = bus
        self._clock = clock
        self._guard = guard
        self._settings = settings
        self._on_draining = on_draining
        self._stopping = False
        self._idle = asyncio.Event()
        self._carriers: set[asyncio.Task[None]] = set()
        self.in_hand = Running()
        """The attempts in hand."""
        writer = ChainWriter(bus, executor_id)
        self._nonce = writer.nonce
        self._runners = Runners()
        self._signals = Signals(bus, clock, self.in_hand, executor_id)
        self._process_log = ProcessLog()
        self._run_logs = RunLogs(bus, executor_id, measures.logged)
        self._heartbeat = Heartbeat(bus, self.in_hand, settings.ack_wait)
        self.intake = Intake(bus, pools, settings.concurrency, settings.ack_wait, self._take, self._may_take)
        """Slots and pulls."""
        self._set_aside = SetAside(bus, writer, clock, executor_id)
        self._measures = measures
        measures.busy = lambda: self.busy
        self._executions = Executions(
            bus,
            clock,
            registry=registry,
            runners=self._runners,
            running=self.in_hand,
            claims=Claims(
                bus,
                writer,
                clock,
                executor_id=executor_id,
                runs=self.in_hand.runs,
                takeover_limit=settings.takeover_limit,
                ack_wait=settings.ack_wait,
            ),
            recorder=Recorder(bus, writer, clock),
            progress=self._signals.progress,
            run_logs=self._run_logs,
            process_log=self._process_log,
            measures=measures,
        )

    @property
    def busy(self) -> int:
        """Slots taken."""
        return self.intake.lanes.busy

    @property
    def taking_work(self) -> bool:
        """Whether it is up and asks for work."""
        return (self.state is ServiceState.RUNNING) and not self._stopping

    def check_handlers(self) -> str | None:
        """For readiness: what is wrong with the place where coroutine handlers run; None while they get their turn."""
        return "a handler blocks the handler loop" if self._runners.blocked else None

    async def on_start(self) -> None:
        """Able to run and to answer first, then asking for work."""
        log, lines = self._process_log, self._run_logs
        for part in (log, lines, self._runners, self._signals, self._heartbeat, self.intake):
            await self.start_child(part)

    async def on_stop(self) -> None:
        """Finish what is in hand, up to the grace; then make it end."""
        self._stopping = True
        self._on_draining()
        try:
            await self.stop_child(self.intake)
            await self._until_idle(self._settings.drain_grace)
            if self.in_hand:
                cut_off = [attempt.due.execution_id for attempt in self.in_hand]
                _log.warning(LogEvent.DRAIN_CUT_OFF, attempts=cut_off)
                for attempt in self.in_hand:
                    attempt.interrupt(Interruption.STOP)
                await self._until_idle(LAST_BREATH_SECONDS)
        finally:
            for task in self._carriers:
                task.cancel()

    async def _until_idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._carriers:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return

    def _may_take(self) -> bool:
        return not self._stopping and not self._guard.off

    def _take(self, delivery: Delivery) -> None:
        """A message has come, and a slot is taken for it."""
        if not self._may_take():
            delay = 0.0 if self._stopping else CLOCK_OFF_DELAY_SECONDS
            self._carry(self._give_back(delivery, delay))
            return
        try:
            due = _decode_due(delivery.data)
            partition = parse_due(delivery.subject).partition
        except (msgspec.DecodeError, ValueError) as error:
            self._carry(self._discard(delivery, error))
            return
        known = self.in_hand.get((due.execution_id, due.attempt))
        if known is not None:
            known.adopt(delivery)
            self._measures.adopted()
            self.intake.finished()
            _log.info(LogEvent.DELIVERY_ADOPTED, execution_id=due.execution_id, attempt=due.attempt)
            return
        attempt = Attempt(due, delivery, partition, self._nonce())
        self.in_hand.add(attempt)
        self._carry(self._carry_out(attempt))

    def _carry(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._carriers.add(task)
        task.add_done_callback(self._carried)

    def _carried(self, task: asyncio.Task[None]) -> None:
        self._carriers.discard(task)
        if not self._carriers:
            self._idle.set()

    async def _carry_out(self, attempt: Attempt) -> None:
        try:
            await self._executions.carry_out(attempt)
        except Exception:  # noqa: BLE001 - one attempt's fault must not end the others; logged whole, and it comes again
            _log.exception(LogEvent.ATTEMPT_BROKEN, execution_id=attempt.due.execution_id)
        finally:
            self.in_hand.remove(attempt)
            if attempt.handler_running:
                attempt.on_late_end = self.intake.finished
            else:
                self.intake.finished()
                # The job knows its attempt. Let go of each other, both are freed at once; else the collector of cycles
                # has to find them, and holds the loop up for it.
                attempt.job = None

    async def _discard(self, delivery: Delivery, error: Exception) -> None:
        self._measures.dead_letter()
        try:
            await self._set_aside.set_aside(delivery, error)
        finally:
            self.intake.finished()

    async def _give_back(self, delivery: Delivery, delay: float) -> None:
        try:
            await answers.nak(self._bus, delivery, delay)
        finally:
            self.intake.finished()
