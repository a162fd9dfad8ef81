"""The api's composition root: every collaborator is made here and nowhere else."""

from __future__ import annotations

import os
import secrets
from importlib.metadata import PackageNotFoundError, version

from gnomon_api.account_views import AccountViews
from gnomon_api.analytics_queries import Analytics
from gnomon_api.app import build_app
from gnomon_api.auditing import Auditing
from gnomon_api.auditor import Auditor, Heartbeat
from gnomon_api.calendar_views import CalendarViews
from gnomon_api.cluster import Cluster
from gnomon_api.cluster_gauges import ClusterGauges
from gnomon_api.commander import Commander
from gnomon_api.database import Database
from gnomon_api.device_feed import DeviceFeed
from gnomon_api.ecosystem import Ecosystem
from gnomon_api.event_hub import EventHub
from gnomon_api.execution_views import ExecutionViews
from gnomon_api.http_server import HttpServer
from gnomon_api.idempotency import Forgetting, Requests
from gnomon_api.measures import ApiMeasures
from gnomon_api.misfits import Misfits, MisfitWatch
from gnomon_api.planning import Planner
from gnomon_api.projection import Projection
from gnomon_api.readmodels.projector import Projector
from gnomon_api.readmodels.retention import Retention
from gnomon_api.repairing import Repairing
from gnomon_api.run_log_keeper import RunLogKeeper
from gnomon_api.run_log_views import RunLogViews
from gnomon_api.services import ApiServices
from gnomon_api.settings import ApiSettings
from gnomon_api.starting_set import StartingSet
from gnomon_api.starting_templates import STARTING_TEMPLATES
from gnomon_api.task_heartbeats import TaskHeartbeats
from gnomon_api.task_views import TaskViews
from gnomon_api.template_views import TemplateViews
from gnomon_api.user_limits import UserLimits
from gnomon_core.rules.account_rules import account_rules
from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.clock import Clock, ClockGuard, SystemClock
from gnomon_core.runtime.discovery import Discovery
from gnomon_core.runtime.durability import state_durability
from gnomon_core.runtime.guarded_http import AddressGuard, parse_networks
from gnomon_core.runtime.lease import SingletonLease
from gnomon_core.runtime.logs import configure_logging
from gnomon_core.runtime.membership import Membership, MemberWatch, this_process
from gnomon_core.runtime.metrics import Metric
from gnomon_core.runtime.observing import Observing
from gnomon_core.runtime.otel_settings import OtelSettings
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.supervisor import BusService, Supervisor
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["Api", "bootstrap", "build"]


class Api:
    """The services of one api process, and the parts that tests look at."""

    def __init__(self, supervisor: Supervisor, http: HttpServer, services: ApiServices, projector: Projector):
        self.supervisor = supervisor
        self.http = http
        self.services = services
        self.projector = projector


async def bootstrap(
    settings: ApiSettings | None = None,
    *,
    bus: NatsBus | None = None,
    clock: Clock | None = None,
    otel: OtelSettings | None = None,
) -> Supervisor:
    """Make the services of one api process; nothing is started yet but the connection.

    `settings` and `otel` come from the environment, `bus` from them, unless handed in. Raises SettingsError,
    TopologyError, DurabilityError.
    """
    api = await build(settings or ApiSettings.load(os.environ), bus=bus, clock=clock, otel=otel)
    return api.supervisor


async def build(
    settings: ApiSettings,
    *,
    bus: NatsBus | None = None,
    clock: Clock | None = None,
    otel: OtelSettings | None = None,
) -> Api:
    """As `bootstrap`, and hand out the parts."""
    otel = otel or OtelSettings.load(os.environ)
    configure_logging(settings.log_level, settings.log_format, process="api")
    clock = clock or SystemClock()
    member_id = f"a-{secrets.token_hex(6)}"
    bus = bus or await connect(settings, name=f"gnomon-api-{member_id}")
    topology = await ensure_topology(
        bus, TopologySettings(partitions=settings.partitions, replicas=settings.replicas)
    )
    await state_durability(bus, settings)
    created = topology.created[EVENTS_STREAM]
    guard = ClockGuard()
    observing = Observing("api", instance=member_id, version=_version(), bus=bus, guard=guard, settings=otel)
    observing.meter.set(Metric.PARTITIONS, settings.partitions)
    measures = ApiMeasures(observing.meter, observing.tracing)
    membership = Membership(bus, this_process("api", member_id, _version(), clock), clock=clock, guard=guard)
    members = MemberWatch(bus, ("scheduler", "executor"))
    cluster = Cluster(bus, members, settings.partitions)
    database = Database(settings.database_url, size=settings.database_pool)
    projection = Projection(bus, created)
    hub = EventHub(bus, reader_limit=settings.sse_buffer, on_readers=measures.readers)
    projector = Projector(
        bus,
        settings.database_url,
        created,
        on_position=projection.advance,
        measures=measures,
        retention=_retention(settings),
        clock=clock,
    )
    lease = _duty(bus, member_id, "projector", settings.lease_ttl, projector)
    devices_lease = _duty(bus, member_id, "devices", settings.lease_ttl, DeviceFeed(bus))
    commander = Commander(bus)
    auditor = Auditor(
        Auditing(database, bus, projection, settings.partitions),
        Heartbeat(bus, settings.heartbeat_url, settings.heartbeat_subject),
        clock,
        observing.meter,
        every_seconds=settings.audit_every,
        window_seconds=settings.audit_window,
        of_tasks=TaskHeartbeats(database, bus, clock, AddressGuard(parse_networks(settings.http_allow))),
        repairing=Repairing(commander, within=settings.write_timeout) if settings.audit_repair else None,
    )
    audit_lease = _duty(bus, member_id, "auditor", settings.lease_ttl, auditor)
    keeper = RunLogKeeper(bus, database, clock, retention_seconds=settings.log_retention)
    keeper_lease = _duty(bus, member_id, "run_logs", settings.lease_ttl, keeper)
    ecosystem = Ecosystem(
        bus,
        commander,
        database,
        projection,
        observing.meter,
        listening=settings.ecosystem,
        lead_seconds=settings.calendar_lead,
        replicas=settings.replicas,
    )
    ecosystem_lease = _duty(bus, member_id, "ecosystem", settings.lease_ttl, ecosystem)
    tasks = TaskViews(database, clock)
    rules = account_rules(settings.tier_limits, settings.initial_credits, required=settings.require_accounts)
    accounts = AccountViews(database, rules)
    limits = UserLimits(database, accounts, required=rules.required)
    templates = TemplateViews(database, accounts)
    misfits = Misfits(database, cluster)
    misfit_watch = MisfitWatch(misfits, cluster, observing.meter, every_seconds=settings.misfits_every)
    misfit_lease = _duty(bus, member_id, "misfits", settings.lease_ttl, misfit_watch)
    starting_set = StartingSet(bus, commander, STARTING_TEMPLATES, within=settings.write_timeout)
    services = ApiServices(
        settings=settings,
        version=_version(),
        bus=bus,
        clock=clock,
        database=database,
        commander=commander,
        requests=Requests(database),
        projection=projection,
        tasks=tasks,
        templates=templates,
        accounts=accounts,
        limits=limits,
        calendars=CalendarViews(database, clock),
        misfits=misfits,
        planner=Planner(
            tasks,
            templates,
            limits,
            cluster,
            clock,
            timezone=settings.timezone,
            finished_ttl=settings.finished_ttl,
        ),
        executions=ExecutionViews(database, hub),
        analytics=Analytics(database, clock),
        run_logs=RunLogViews(database, bus, hub, settings.partitions),
        hub=hub,
        cluster=cluster,
        meter=observing.meter,
        measures=measures,
        required={
            "nats": lambda: None if bus.connected else "not connected to NATS",
            "clock": lambda: f"off by {guard.offset_ms} ms" if guard.off else None,
        },
        degraded={"postgres": database.why_away, "projector": lambda: projector.trouble},
    )
    observing.probe_checks(services.required, services.degraded)
    observing.probe(ClusterGauges(bus, members, projection, clock, observing.meter).look, every_seconds=5.0)
    http = HttpServer(
        build_app(services), settings.http_host, settings.http_port, on_stopping=hub.end_readers
    )
    supervisor = Supervisor(
        [
            BusService(bus),
            observing,
            membership,
            members,
            cluster,
            database,
            projection,
            Forgetting(database),
            commander,
            lease,
            *([audit_lease] if settings.audit_every else []),
            *([misfit_lease] if settings.misfits_every else []),
            *([starting_set] if settings.starting_templates else []),
            keeper_lease,
            *([ecosystem_lease] if settings.ecosystem != "off" else []),
            devices_lease,
            hub,
            http,
            Discovery(bus, "api", member_id, _version(), services.required, address=lambda: http.url),
        ]
    )
    return Api(supervisor, http, services, projector)


def _retention(settings: ApiSettings) -> Retention:
    """A task that the scheduler still has in memory must not go: what it tells next would find no row."""
    tasks = settings.task_retention and max(settings.task_retention, settings.finished_ttl)
    return Retention(executions=settings.execution_retention, tasks=tasks)


def _duty(bus: NatsBus, member_id: str, key: str, ttl: float, service: Service) -> SingletonLease:
    """A lease whose holder runs a service."""

    async def gained() -> None:
        # As a part of the lease: should the service ever fail, the process learns of it.
        await lease.start_child(service)

    async def lost() -> None:
        await lease.stop_child(service)

    lease = SingletonLease(bus, member_id, key, ttl, on_gain=gained, on_lose=lost)
    return lease


def _version() -> str:
    try:
        return version("gnomon-api")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"
