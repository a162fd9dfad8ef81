"""What a process tells of itself: its meter and its traces, pushed where `OTEL_*` says, and what is looked at now and
then rather than counted as it happens.

Gauges are probed here: once a second for what is cheap to read, so that no hot path has to keep them. A probe that
raises is logged and asked again; a process is not ended by its own thermometer.
"""

from __future__ import annotations

import asyncio
import platform
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import structlog
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.clock import ClockGuard
from gnomon_core.runtime.health import Check, readiness
from gnomon_core.runtime.metrics import Meter, Metric, Process
from gnomon_core.runtime.otel_settings import OtelSettings
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import Tracing

if TYPE_CHECKING:
    from gnomon_core.runtime.otlp import MetricsPush

__all__ = ["Observing", "Probe"]

Probe = Callable[[], Awaitable[None] | None]
"""Sets gauges; at once or after a moment."""

_TICK_SECONDS: Final = 0.25
_PROBE_SECONDS: Final = 1.0
_CHECK_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 2.0
"""For pushing what is left at the end: a receiver that hangs is not waited for."""

_log = structlog.get_logger(__name__)


class Observing(Service):
    """The meter and the traces of one process. To be started right after the connection, so that it stops last."""

    def __init__(
        self,
        process: Process,
        *,
        instance: str,
        version: str,
        bus: NatsBus,
        guard: ClockGuard,
        settings: OtelSettings,
    ) -> None:
        super().__init__("observing")
        self._bus = bus
        self._guard = guard
        self._settings = settings
        self._probes: list[tuple[Probe, float]] = []
        self._push: MetricsPush | None = None
        self.meter = Meter(process)
        """What the process counts with."""
        self.tracing = self._traced(process, instance, version)
        """What it records spans with."""
        bus.counts = self.meter
        self.meter.set(
            Metric.BUILD_INFO, 1, process=process, version=version, python=platform.python_version()
        )
        self.meter.set(Metric.PROCESS_START, time.time())
        self.probe(self._look_at_connection)
        self._generation = bus.generation

    def _traced(self, process: Process, instance: str, version: str) -> Tracing:
        traces, metrics = self._settings.target("traces"), self._settings.target("metrics")
        if traces is None and metrics is None:
            return Tracing(process, None)
        from gnomon_core.runtime.otlp import MetricsPush, resource_of, tracer_provider

        resource = resource_of(self._settings, process, instance=instance, version=version)
        if metrics is not None:
            self._push = MetricsPush(self.meter, self._settings, metrics, resource)
        return Tracing(process, tracer_provider(self._settings, traces, resource) if traces else None)

    def probe(self, probe: Probe, *, every_seconds: float = _PROBE_SECONDS) -> None:
        """Have `probe` asked every so often. To be called before the start."""
        self._probes.append((probe, every_seconds))

    def probe_checks(self, *groups: Mapping[str, Check]) -> None:
        """Tell what these checks of readiness say as a metric as well."""

        async def look() -> None:
            for checks in groups:
                _, said = await readiness(checks)
                for name, word in said.items():
                    self.meter.set(Metric.CHECK_OK, float(word == "ok"), check=name)

        self.probe(look, every_seconds=_CHECK_SECONDS)

    @override
    async def on_start(self) -> None:
        """Begin to look and to push."""
        if self._push is not None:
            self._push.start()
        _ = self.spawn(self._tick(), "tick")
        for number, (probe, every) in enumerate(self._probes):
            _ = self.spawn(self._ask(probe, every), f"probe-{number}")

    @override
    async def on_stop(self) -> None:
        """Push what is left, within a few seconds."""
        ends = [self.tracing.close] if self.tracing.recording else []
        if self._push is not None:
            ends.append(self._push.shutdown)
        await asyncio.gather(*(_within(end, _FLUSH_SECONDS) for end in ends))

    async def _tick(self) -> None:
        while True:
            due = time.monotonic() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self.meter.record(Metric.LOOP_LAG, max(0.0, time.monotonic() - due))

    async def _ask(self, probe: Probe, every: float) -> None:
        while True:
            try:
                asked = probe()
                if asked is not None:
                    await asked
            except Exception as error:  # noqa: BLE001 - whatever it is, it is logged; the gauges keep their last values
                _log.warning(LogEvent.PROBE_FAILED, error=repr(error))
            await asyncio.sleep(every)

    def _look_at_connection(self) -> None:
        generation = self._bus.generation
        if generation > self._generation:
            self.meter.add(Metric.NATS_RECONNECTS, generation - self._generation)
            self._generation = generation
        self.meter.set(Metric.CLOCK_OFFSET, self._guard.offset_ms / 1000)


async def _within(work: Callable[[], None], seconds: float) -> None:
    """Do something that blocks in a thread, and wait no longer than so: the process need not wait for its end."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                _log.debug(LogEvent.PUSH_CUT_OFF)  # the loop was closed over it: nobody waits any more

    threading.Thread(target=run, name="gnomon-otlp-flush", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        _log.warning(LogEvent.PUSH_CUT_OFF)
