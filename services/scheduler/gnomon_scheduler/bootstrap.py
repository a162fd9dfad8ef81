"""The scheduler's composition root: every collaborator is made here and nowhere else."""

from __future__ import annotations

import os
import secrets
from importlib.metadata import version

from gnomon_core.rules.account_rules import account_rules
from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.clock import Clock, ClockGuard, SystemClock
from gnomon_core.runtime.discovery import Discovery
from gnomon_core.runtime.durability import state_durability
from gnomon_core.runtime.health import Check, HealthServer
from gnomon_core.runtime.logs import configure_logging
from gnomon_core.runtime.membership import Membership, MemberWatch, this_process
from gnomon_core.runtime.metrics import Metric
from gnomon_core.runtime.observing import Observing
from gnomon_core.runtime.otel_settings import OtelSettings
from gnomon_core.runtime.supervisor import BusService, Supervisor
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_core.timing import calendar_fingerprint
from gnomon_scheduler.janitor import Janitor, JanitorPost
from gnomon_scheduler.leading import Leading
from gnomon_scheduler.measures import ShardMeasures
from gnomon_scheduler.object_catalogue import ObjectCatalogue
from gnomon_scheduler.pool_catalogue import PoolCatalogue
from gnomon_scheduler.settings import SchedulerSettings
from gnomon_scheduler.shard_options import ShardOptions
from gnomon_scheduler.steady_clock import SteadyClock
from gnomon_scheduler.type_catalogue import TypeCatalogue

__all__ = ["bootstrap"]


async def bootstrap(
    settings: SchedulerSettings | None = None,
    *,
    bus: NatsBus | None = None,
    clock: Clock | None = None,
    otel: OtelSettings | None = None,
) -> Supervisor:
    """Make the services of one scheduler process; nothing is started yet but the connection.

    `settings` and `otel` come from the environment, `bus` from them, unless handed in.

    Raises SettingsError, TopologyError, DurabilityError.
    """
    settings, otel = settings or SchedulerSettings.load(os.environ), otel or OtelSettings.load(os.environ)
    configure_logging(settings.log_level, settings.log_format, process="scheduler")
    clock = clock or SystemClock()
    member_id = f"s-{secrets.token_hex(6)}"
    bus = bus or await connect(settings, name=f"gnomon-scheduler-{member_id}")
    await ensure_topology(bus, TopologySettings(partitions=settings.partitions, replicas=settings.replicas))
    await state_durability(bus, settings)
    guard = ClockGuard()
    package = version("gnomon-scheduler")
    member = this_process("scheduler", member_id, package, clock)
    membership = Membership(bus, member, clock=clock, guard=guard)
    observing = Observing(
        "scheduler", instance=member_id, version=package, bus=bus, guard=guard, settings=otel
    )
    observing.meter.set(Metric.PARTITIONS, settings.partitions)
    measures = ShardMeasures(observing.meter, observing.tracing)
    members = MemberWatch(bus, ("scheduler", "executor"))
    types = TypeCatalogue(bus, members)
    pools = PoolCatalogue(bus)
    objects = ObjectCatalogue(bus)
    options = ShardOptions(
        owner=member_id,
        default_timezone=settings.timezone,
        fingerprint=calendar_fingerprint(),
        partitions=settings.partitions,
        rules=account_rules(
            settings.tier_limits, settings.initial_credits, required=settings.require_accounts
        ),
        cancel_grace_ms=int(settings.cancel_grace * 1000),
        catch_up_rate=settings.catch_up_rate / settings.partitions,
        catch_up_hold_above=settings.catch_up_approval / settings.partitions,
        lateness_quiet_ms=int(settings.lateness_quiet * 1000),
    )
    steady = SteadyClock(clock, guard, membership.look)
    leading = Leading(bus, types, pools, objects, members, membership, steady, settings, options, measures)
    janitor = Janitor(
        bus, settings.partitions, event_ttl=settings.event_ttl, every_seconds=settings.janitor_every
    )
    janitor_post = JanitorPost(bus, member_id, settings.lease_ttl, janitor)
    checks: dict[str, Check] = {
        "nats": lambda: None if bus.connected else "not connected to NATS",
        "clock": lambda: f"off by {guard.offset_ms} ms" if guard.off else None,
        "leading": lambda: None if leading.running else "still loading",
    }
    observing.probe_checks(checks)
    observing.probe(leading.look)
    health = HealthServer(settings.health_host, settings.health_port, meter=observing.meter, checks=checks)
    return Supervisor(
        [
            BusService(bus),
            observing,
            health,
            membership,
            members,
            types,
            pools,
            objects,
            leading,
            janitor_post,
            Discovery(bus, "scheduler", member_id, package, checks),
        ]
    )
