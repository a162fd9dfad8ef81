"""The life of a process: start its services in order, wait for a signal or a failure, stop them in reverse.

    build -> start one after the other -> ready -> SIGTERM, SIGINT or first failure -> stop in reverse -> exit

A start that fails half-way is undone. Stopping is soft for `grace` seconds in all; what is not finished then
is cut off and named in the log. A second signal cuts off at once. The exit code tells: 0 after a signal, 1
after a failure, 2 for settings that cannot be used.

A service may be given a `Restart`: then its failure does not end the process until it has failed too often.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import structlog
from typing_extensions import override

from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import NatsBus, NoAnswer
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.settings import SettingsError
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.topology import TopologyError

__all__ = ["BusService", "Restart", "Supervisor", "collect_seldom", "run_process"]

_log = structlog.get_logger(__name__)
_COLLECT_EVERY = 50_000
"""Objects made and not yet freed, besides those that last."""
_LOOP_CHECK_SECONDS = 0.25
_LOOP_BLOCKED_SECONDS = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Restart(msgspec.Struct, frozen=True, kw_only=True):
    """How often a failed service is started again before its failure ends the process."""

    attempts: int = 5
    """Failures in a row; a service that then runs for `calm_seconds` starts counting anew."""
    calm_seconds: float = 60.0


class BusService(Service):
    """The connection as a service, to be named first: it is closed when everything that uses it has
    stopped."""

    def __init__(self, bus: NatsBus) -> None:
        super().__init__("nats")
        self._bus = bus

    @override
    async def on_start(self) -> None:
        """Watch the connection, which is up already."""
        _ = self.spawn(self._watch(), "watch")

    @override
    async def on_stop(self) -> None:
        """Close the connection."""
        await self._bus.close()

    async def _watch(self) -> None:
        raise NoAnswer(f"the connection to NATS is closed: {await self._bus.broken_off()}")


class Supervisor:
    """Runs services. `run` does all; `start` and `stop` are its halves, for tests and for processes of
    another kind."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        grace: float = 30.0,
        restarts: Mapping[str, Restart] | None = None,
    ) -> None:
        """`grace`: seconds for all services together to finish. `restarts`: by service name."""
        self._services = list(services)
        self._grace = grace
        self._restarts = dict(restarts or {})
        self._started: list[Service] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def failure(self) -> BaseException | None:
        """What ended the process; None when it was asked to stop."""
        return self._failure

    async def run(self) -> int:
        """Start, wait, stop; the exit code. Raises what a service's start raised, after undoing the
        others."""
        loop = asyncio.get_running_loop()
        watching = asyncio.create_task(_watch_loop(), name="loop-watch")
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        try:
            await self.start()
            await self._ending.wait()
            await self.stop()
        finally:
            watching.cancel()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        return 0 if self._failure is None else 1

    async def start(self) -> None:
        """Start all services in order. When one cannot start, those before it are stopped, and its error
        raised.

        A signal during the start breaks it off.
        """
        begin = time.monotonic()
        for service in self._services:
            starting = asyncio.create_task(service.start(), name=f"start:{service.name}")
            ending = asyncio.create_task(self._ending.wait(), name="ending")
            try:
                await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    starting.cancel()
                    await asyncio.wait({starting})
                    break
                await starting
            except BaseException:
                starting.cancel()
                await self.stop()
                raise
            finally:
                ending.cancel()
            self._started.append(service)
            self._watchers.append(asyncio.create_task(self._watch(service), name=f"supervise:{service.name}"))
        else:
            _log.info(
                LogEvent.PROCESS_READY,
                services=[service.name for service in self._services],
                seconds=round(time.monotonic() - begin, 3),
            )

    def end(self, failure: BaseException | None = None) -> None:
        """Ask the process to stop; `failure` is why, None for a plain request."""
        if not self._ending.is_set():
            self._failure = failure
            self._ending.set()

    async def stop(self) -> None:
        """Stop all services in reverse order: softly for the grace, then cutting off."""
        begin = time.monotonic()
        for watcher in self._watchers:
            watcher.cancel()
        if self._watchers:
            await asyncio.wait(self._watchers)
        self._watchers.clear()
        while self._started:
            service = self._started.pop()
            await self._stop_one(service, begin + self._grace - time.monotonic())
        _log.info(LogEvent.PROCESS_STOPPED, seconds=round(time.monotonic() - begin, 3))

    async def _stop_one(self, service: Service, grace: float) -> None:
        stopping = asyncio.create_task(service.stop(), name=f"stop:{service.name}")
        hurrying = asyncio.create_task(self._hurry.wait(), name="hurry")
        await asyncio.wait({stopping, hurrying}, timeout=max(0.0, grace), return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not stopping.done():
            cut = await service.abort()
            _log.warning(LogEvent.SERVICE_CUT_OFF, service=service.name, tasks=cut)
            stopping.cancel()
            await asyncio.wait({stopping})
        if not stopping.cancelled() and (error := stopping.exception()) is not None:
            _log.error(LogEvent.SERVICE_STOP_FAILED, service=service.name, exc_info=error)

    async def _watch(self, service: Service) -> None:
        """Wait for the service to fail, and start it again where that is allowed; else end the process."""
        restart = self._restarts.get(service.name)
        backoff = Backoff(first=0.2, longest=10.0)
        while True:
            since = time.monotonic()
            error = await service.failed()
            _log.error(LogEvent.SERVICE_FAILED, service=service.name, exc_info=error)
            if restart is not None and time.monotonic() - since > restart.calm_seconds:
                backoff.reset()
            if restart is None or backoff.attempts >= restart.attempts:
                self.end(error)
                return
            await self._stop_one(service, self._grace)
            await backoff.pause()
            try:
                await service.start()
            except Exception as start_error:  # noqa: BLE001 - whatever it is, it ends the process and is logged
                self.end(start_error)
                return
            _log.info(LogEvent.SERVICE_RESTARTED, service=service.name, attempt=backoff.attempts)

    def _signalled(self, number: signal.Signals) -> None:
        if self._ending.is_set():
            self._hurry.set()
            return
        _log.info(LogEvent.PROCESS_STOPPING, why=number.name)
        self.end()


async def _watch_loop() -> None:
    """Say when something has held the event loop up: nothing may, since leases and acks wait meanwhile."""
    while True:
        due = time.monotonic() + _LOOP_CHECK_SECONDS
        await asyncio.sleep(_LOOP_CHECK_SECONDS)
        late = time.monotonic() - due
        if late > _LOOP_BLOCKED_SECONDS:
            _log.warning(LogEvent.LOOP_BLOCKED, seconds=round(late, 3))


def collect_seldom() -> None:
    """Have the collector of cycles look less often than by default, which is at every 700 objects: the hot paths make
    thousands of objects that no cycle holds. It took a tenth of an executor's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)


Build = Callable[[], Awaitable[Supervisor]]
"""Reads the settings and makes the services of one process; nothing is started yet but what they share."""


def run_process(build: Build, *, name: str) -> int:
    """Run one process from settings to exit; the exit code. What a `__main__` calls:

        sys.exit(run_process(bootstrap, name="scheduler"))

    Settings that cannot be used and a broker that does not fit are told in one line on standard error, with
    code 2.
    """
    import uvloop

    async def main() -> int:
        # The first process of a container is deaf to signals that it does not handle, and the build may wait long
        # for NATS. The supervisor's own handler takes this one's place.
        this = asyncio.current_task()
        assert this is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
        supervisor = await build()
        collect_seldom()
        return await supervisor.run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(main())
    except (SettingsError, TopologyError) as error:
        sys.stderr.write(f"gnomon {name}: {error}\n")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    except Exception as error:  # noqa: BLE001 - the last frame of the process: it is told whole, then the code tells
        _log.critical(LogEvent.SERVICE_FAILED, service=name, exc_info=error)
        return 1
