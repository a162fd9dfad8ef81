"""The executor's composition root: every collaborator is made here and nowhere else."""

from __future__ import annotations

import os
import re
import secrets
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.clock import Clock, ClockGuard, SystemClock
from gnomon_core.runtime.discovery import Discovery
from gnomon_core.runtime.durability import state_durability
from gnomon_core.runtime.guarded_http import parse_networks
from gnomon_core.runtime.health import Check, HealthServer
from gnomon_core.runtime.logs import configure_logging
from gnomon_core.runtime.membership import Membership, this_process
from gnomon_core.runtime.observing import Observing
from gnomon_core.runtime.otel_settings import OtelSettings
from gnomon_core.runtime.supervisor import BusService, Supervisor
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_executor.announcer import Announcer
from gnomon_executor.builtin.http_request import allow_networks
from gnomon_executor.load import Load
from gnomon_executor.measures import ExecutorMeasures
from gnomon_executor.registry import Registry, load_types
from gnomon_executor.settings import ExecutorSettings
from gnomon_executor.worker import LAST_BREATH_SECONDS, Worker

__all__ = ["MARGIN_SECONDS", "bootstrap", "new_executor_id"]

_HOST_CHARS: Final = 40
MARGIN_SECONDS: Final = 10.0
"""For the other services to stop, after the worker."""


async def bootstrap(
    settings: ExecutorSettings | None = None,
    *,
    bus: NatsBus | None = None,
    clock: Clock | None = None,
    registry: Registry | None = None,
    executor_id: str | None = None,
    otel: OtelSettings | None = None,
) -> Supervisor:
    """Make the services of one executor process; nothing is started yet but the connection.

    `settings` come from the environment, `bus` and `registry` from them, unless handed in; so does `otel`. Raises
    SettingsError, TypesNotLoaded, TopologyError, DurabilityError.
    """
    settings, otel = settings or ExecutorSettings.load(os.environ), otel or OtelSettings.load(os.environ)
    configure_logging(settings.log_level, settings.log_format, process="executor")
    clock = clock or SystemClock()
    executor_id = executor_id or new_executor_id()
    package = _version()
    registry = registry or Registry(load_types(settings.tasks), package)
    pools = settings.pools or registry.pools
    allow_networks(parse_networks(settings.http_allow))
    bus = bus or await connect(settings, name=f"gnomon-executor-{executor_id}")
    await ensure_topology(bus, TopologySettings(partitions=settings.partitions, replicas=settings.replicas))
    await state_durability(bus, settings)
    guard = ClockGuard()
    member = this_process(
        "executor",
        executor_id,
        package,
        clock,
        pools=pools,
        task_types=registry.names,
        capacity=settings.concurrency,
    )
    membership = Membership(bus, member, clock=clock, guard=guard)
    observing = Observing(
        "executor", instance=executor_id, version=package, bus=bus, guard=guard, settings=otel
    )
    measures = ExecutorMeasures(observing.meter, observing.tracing, slots=settings.concurrency)
    worker = Worker(
        bus,
        clock,
        guard,
        settings,
        registry,
        executor_id=executor_id,
        pools=pools,
        measures=measures,
        on_draining=lambda: membership.update(draining=True),
    )
    checks: dict[str, Check] = {
        "nats": lambda: None if bus.connected else "not connected to NATS",
        "clock": lambda: f"off by {guard.offset_ms} ms" if guard.off else None,
        "taking_work": lambda: None if worker.taking_work else "starting or stopping",
        "handlers": worker.check_handlers,
    }
    observing.probe_checks(checks)
    health = HealthServer(settings.health_host, settings.health_port, meter=observing.meter, checks=checks)
    # The types are told and the worker is able to run them before the membership says so: what is emitted for
    # them from then on is run.
    return Supervisor(
        [
            BusService(bus),
            observing,
            health,
            measures,
            Announcer(bus, registry.announcements()),
            membership,
            worker,
            Load(worker, membership),
            Discovery(bus, "executor", executor_id, package, checks),
        ],
        grace=settings.drain_grace + LAST_BREATH_SECONDS + MARGIN_SECONDS,
    )


def new_executor_id() -> str:
    """An id that no other process has, now or later; it begins with the host, for people."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:_HOST_CHARS]
    return f"e-{host}-{secrets.token_hex(6)}"


def _version() -> str:
    try:
        return version("gnomon-executor")
    except PackageNotFoundError:  # run from a source tree that is on the path but not installed
        return "0+source"
