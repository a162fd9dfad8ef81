"""Every metric of every process, in one list, and the meter that a process counts with.

Names follow Prometheus: `_total` for counters, base units, seconds. What is listed for a process and has no labels is
there from its start, at 0, so that rates and alerts need not guess; with labels it appears when it first counts.

A record costs about a microsecond: hot loops still count per batch (`add` with the batch's size) and not per message.
The same registry is what `/metrics` renders and what `otlp` pushes, so both always tell the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric as Family

__all__ = ["Counts", "Family", "Meter", "Metric", "MetricSpec", "Process", "Uncounted"]

# Nobody asks when a series was made, and each would be one more series.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types

Process = Literal["scheduler", "executor", "api"]
"""Kinds of process that have metrics."""
_EVERY: Final[tuple[Process, ...]] = ("scheduler", "executor", "api")
_SCHEDULER: Final[tuple[Process, ...]] = ("scheduler",)
_EXECUTOR: Final[tuple[Process, ...]] = ("executor",)
_API: Final[tuple[Process, ...]] = ("api",)
_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_RUN = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
_SIZES = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)


class MetricSpec(NamedTuple):
    """What a metric is called and what it means."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    processes: tuple[Process, ...] = _EVERY
    """Kinds of process that have it."""


class Metric(Enum):
    """The list. Labels are few and bounded: never ids."""

    BUILD_INFO = MetricSpec(
        "gnomon_build_info",
        "gauge",
        "Always 1; what runs is in the labels.",
        ("process", "version", "python"),
    )
    PROCESS_START = MetricSpec(
        "gnomon_process_start_time_seconds", "gauge", "When the process started, in seconds since 1970."
    )
    LOOP_LAG = MetricSpec(
        "gnomon_event_loop_lag_seconds",
        "histogram",
        "How late the event loop got round to a timer, looked at four times a second.",
        (),
        _LATENCY,
    )
    CHECK_OK = MetricSpec(
        "gnomon_check_ok",
        "gauge",
        "Whether a check of /readyz (or of /health) agrees: 1 or 0. Looked at every five seconds.",
        ("check",),
    )
    CLOCK_OFFSET = MetricSpec(
        "gnomon_clock_offset_seconds",
        "gauge",
        "How far the own clock is ahead of the broker's; 0 while it is within two seconds.",
    )
    NATS_RECONNECTS = MetricSpec(
        "gnomon_nats_reconnects_total", "counter", "Times that the connection to NATS was made again."
    )
    FOLLOWER_RESTARTS = MetricSpec(
        "gnomon_follower_restarts_total",
        "counter",
        "Times that a reader of a stream made its consumer anew: after an outage, a gap, or silence.",
        ("stream",),
    )
    FOLLOWER_LAG = MetricSpec(
        "gnomon_follower_lag_messages",
        "gauge",
        "Messages that the broker had for a reader of a stream at the last ones it brought; of several readers, any.",
        ("stream",),
    )
    LEASES_HELD = MetricSpec(
        "gnomon_leases_held",
        "gauge",
        "Leases that this process holds: shards, or duties: janitor, projector, auditor, run_logs, ecosystem, devices.",
        ("duty",),
        processes=("scheduler", "api"),
    )
    LEASES_GAINED = MetricSpec(
        "gnomon_leases_gained_total",
        "counter",
        "Leases gained: free, or taken over because the holder's was expired, suspected, unheard; or adopted.",
        ("duty", "how"),
        processes=("scheduler", "api"),
    )
    LEASES_LOST = MetricSpec(
        "gnomon_leases_lost_total",
        "counter",
        "Leases lost: released, or because they were taken, expired, failed, or the clock was off.",
        ("duty", "why"),
        processes=("scheduler", "api"),
    )

    PARTITIONS = MetricSpec(
        "gnomon_partitions",
        "gauge",
        "Shards that the tasks are spread over.",
        processes=("scheduler", "api"),
    )
    FIRE_LATENESS = MetricSpec(
        "gnomon_fire_lateness_seconds",
        "histogram",
        "Time from when a slot was due to when its due was published.",
        ("trigger",),
        _LATENCY,
        _SCHEDULER,
    )
    FIRES = MetricSpec("gnomon_fires_total", "counter", "Dues published.", ("trigger",), processes=_SCHEDULER)
    OUTCOMES = MetricSpec(
        "gnomon_outcomes_total",
        "counter",
        "Outcomes folded by shard leaders: executed by status, skipped and missed by reason.",
        ("outcome", "reason"),
        processes=_SCHEDULER,
    )
    DEAD_LETTERS = MetricSpec(
        "gnomon_dead_letters_total",
        "counter",
        "Executions given up as dead letters, and work that could not be read.",
        ("reason",),
        processes=("scheduler", "executor"),
    )
    COMMANDS = MetricSpec(
        "gnomon_commands_total",
        "counter",
        "Commands decided, by verb and `ok` or problem code.",
        ("verb", "result"),
        processes=_SCHEDULER,
    )
    COMMAND_SECONDS = MetricSpec(
        "gnomon_command_seconds",
        "histogram",
        "Time from when a shard leader took commands up to when they were stored and answered; one observation "
        "for all that were decided in one turn.",
        (),
        _LATENCY,
        _SCHEDULER,
    )
    DUPLICATES_REFUSED = MetricSpec(
        "gnomon_duplicates_refused_total",
        "counter",
        "What came again and had no second effect: commands decided before, deliveries of work that runs already.",
        ("what",),
        processes=("scheduler", "executor"),
    )
    COMMIT_SECONDS = MetricSpec(
        "gnomon_commit_seconds", "histogram", "Time to store one batch of a shard.", (), _LATENCY, _SCHEDULER
    )
    BATCH_MESSAGES = MetricSpec(
        "gnomon_batch_messages", "histogram", "Messages in a shard's batch.", (), _SIZES, _SCHEDULER
    )
    SHARDS_LED = MetricSpec(
        "gnomon_shards_led", "gauge", "Shards that this process leads.", processes=_SCHEDULER
    )
    SHARD_LAG = MetricSpec(
        "gnomon_shard_lag_seconds",
        "gauge",
        "How long the most overdue slot of the shards led here has been waiting to be handed out.",
        processes=_SCHEDULER,
    )
    SHARD_TASKS = MetricSpec(
        "gnomon_shard_tasks",
        "gauge",
        "Tasks in the memory of the shards led here, ended ones included until they are forgotten.",
        processes=_SCHEDULER,
    )
    SHARD_IN_FLIGHT = MetricSpec(
        "gnomon_shard_in_flight",
        "gauge",
        "Executions that the shards led here wait for.",
        processes=_SCHEDULER,
    )
    SHARD_SET_ASIDE = MetricSpec(
        "gnomon_shard_set_aside",
        "gauge",
        "Tasks of the shards led here that are set aside: deciding about them failed, or their state cannot be read.",
        processes=_SCHEDULER,
    )
    USERS_SET_ASIDE = MetricSpec(
        "gnomon_users_set_aside",
        "gauge",
        "Users of whom the shards led here cannot read what they have spent or may spend: nothing paid runs.",
        processes=_SCHEDULER,
    )
    GATES_SET_ASIDE = MetricSpec(
        "gnomon_gates_set_aside",
        "gauge",
        "Pools and keys of the shards led here of which it cannot be read who holds what: nothing more is let go.",
        processes=_SCHEDULER,
    )
    CATCH_UP_WAITING = MetricSpec(
        "gnomon_catch_up_waiting",
        "gauge",
        "Late slots of the shards led here that are to run and were not handed out yet.",
        processes=_SCHEDULER,
    )
    CATCH_UP_HELD = MetricSpec(
        "gnomon_catch_up_held",
        "gauge",
        "Those of them that wait for an operator's word.",
        processes=_SCHEDULER,
    )
    LATENESS_SLO_SLOTS = MetricSpec(
        "gnomon_lateness_slo_slots_total",
        "counter",
        "Slots of tasks with a lateness objective, by whether they started in time: the share that is late burns it.",
        ("task_type", "verdict"),
        processes=_SCHEDULER,
    )
    LATENESS_SLO_BROKEN = MetricSpec(
        "gnomon_lateness_slo_broken",
        "gauge",
        "Tasks of the shards led here whose lateness objective is broken.",
        processes=_SCHEDULER,
    )
    SHARD_TAKEOVERS = MetricSpec(
        "gnomon_shard_takeovers_total", "counter", "Shards taken over.", processes=_SCHEDULER
    )
    SHARD_TAKEOVER_SECONDS = MetricSpec(
        "gnomon_shard_takeover_seconds",
        "histogram",
        "Time from lease to the first turn.",
        (),
        _LATENCY,
        _SCHEDULER,
    )
    DEPOSITIONS = MetricSpec(
        "gnomon_depositions_total",
        "counter",
        "Times that a leader found another leading after it.",
        processes=_SCHEDULER,
    )

    EXECUTIONS = MetricSpec(
        "gnomon_executions_total",
        "counter",
        "Executions whose result this executor stored.",
        ("task_type", "status"),
        processes=_EXECUTOR,
    )
    EXECUTION_SECONDS = MetricSpec(
        "gnomon_execution_seconds", "histogram", "Run time of handlers.", ("task_type",), _RUN, _EXECUTOR
    )
    START_LATENESS = MetricSpec(
        "gnomon_start_lateness_seconds",
        "histogram",
        "Time from when a slot was due to the handler's start.",
        (),
        _LATENCY,
        _EXECUTOR,
    )
    QUEUE_SECONDS = MetricSpec(
        "gnomon_queue_seconds",
        "histogram",
        "Time from when the due of an attempt was published to the handler's start: what executors, and not the "
        "scheduler, are late.",
        (),
        _LATENCY,
        _EXECUTOR,
    )
    EXECUTOR_SLOTS = MetricSpec(
        "gnomon_executor_slots",
        "gauge",
        "Executions that this executor may have in hand at a time.",
        processes=_EXECUTOR,
    )
    EXECUTIONS_RUNNING = MetricSpec(
        "gnomon_executions_running", "gauge", "Slots of this executor that are taken.", processes=_EXECUTOR
    )
    CLAIM_CONFLICTS = MetricSpec(
        "gnomon_claim_conflicts_total",
        "counter",
        "Claims and results refused because the chain had moved.",
        ("row",),
        processes=_EXECUTOR,
    )
    LOG_LINES = MetricSpec(
        "gnomon_log_lines_total",
        "counter",
        "Lines that handlers logged: stored, or lost since NATS did not take them for too long.",
        ("fate",),
        processes=_EXECUTOR,
    )
    TAKEOVERS = MetricSpec(
        "gnomon_takeovers_total",
        "counter",
        "Attempts taken over from an executor that had gone.",
        processes=_EXECUTOR,
    )

    MEMBERS = MetricSpec(
        "gnomon_members", "gauge", "Live processes, as the api sees them.", ("kind",), processes=_API
    )
    STREAM_MESSAGES = MetricSpec(
        "gnomon_stream_messages",
        "gauge",
        "Messages in a stream: of TASK_COMMANDS undecided ones, of TASK_DUE unfinished work and one fence a shard.",
        ("stream",),
        processes=_API,
    )
    STREAM_BYTES = MetricSpec(
        "gnomon_stream_bytes", "gauge", "Size of a stream.", ("stream",), processes=_API
    )
    POOL_PENDING = MetricSpec(
        "gnomon_pool_pending",
        "gauge",
        "Work of a pool that no executor has been given yet.",
        ("pool", "priority"),
        processes=_API,
    )
    POOL_IN_FLIGHT = MetricSpec(
        "gnomon_pool_in_flight",
        "gauge",
        "Work of a pool that executors have in hand, or that comes again after a delay.",
        ("pool", "priority"),
        processes=_API,
    )
    PROJECTED = MetricSpec(
        "gnomon_projected_events_total", "counter", "Events written to the read models.", processes=_API
    )
    PROJECTOR_SECONDS = MetricSpec(
        "gnomon_projector_batch_seconds",
        "histogram",
        "Time to write one batch of events.",
        (),
        _LATENCY,
        _API,
    )
    PROJECTOR_LAG = MetricSpec(
        "gnomon_projector_lag_events",
        "gauge",
        "Messages in the log from the last event in the read models to the newest event, registers counted along.",
        processes=_API,
    )
    PROJECTOR_LAG_SECONDS = MetricSpec(
        "gnomon_projector_lag_seconds",
        "gauge",
        "How long the first event that is missing in the read models has been waiting; 0 when none is.",
        processes=_API,
    )
    PROJECTOR_UNREADABLE = MetricSpec(
        "gnomon_projector_unreadable_total",
        "counter",
        "Events archived that could not be read.",
        processes=_API,
    )
    TYPE_MISFITS = MetricSpec(
        "gnomon_task_type_misfits",
        "gauge",
        "Tasks that may still run and whose config does not fit the schema that their type has now.",
        ("task_type",),
        processes=_API,
    )
    LEDGER_MISSING = MetricSpec(
        "gnomon_ledger_missing",
        "gauge",
        "Slots of the audited window that have no outcome and are not on their way to one.",
        processes=_API,
    )
    LEDGER_DUPLICATE = MetricSpec(
        "gnomon_ledger_duplicate",
        "gauge",
        "Slots of the audited window with more than one outcome, and records where no slot was.",
        processes=_API,
    )
    LEDGER_REPAIRED = MetricSpec(
        "gnomon_ledger_repaired_total",
        "counter",
        "Missing slots that the auditor has handed to their tasks' catch-up policies.",
        processes=_API,
    )
    LEDGER_AUDITED = MetricSpec(
        "gnomon_ledger_audited_timestamp_seconds",
        "gauge",
        "When the last audit was done, in seconds since 1970; 0 on an api that does not have the duty.",
        processes=_API,
    )
    ECOSYSTEM_MESSAGES = MetricSpec(
        "gnomon_ecosystem_messages_total",
        "counter",
        "Messages of other services: acted on, ignored since nothing was to be done, or set aside.",
        ("subject", "fate"),
        processes=_API,
    )
    HTTP_SECONDS = MetricSpec(
        "gnomon_http_request_seconds",
        "histogram",
        "Time to answer a request.",
        ("method", "route", "status"),
        _LATENCY,
        _API,
    )
    SSE_CLIENTS = MetricSpec(
        "gnomon_sse_clients", "gauge", "Open streams of server-sent events.", processes=_API
    )


class Counts(Protocol):
    """What counts."""

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Count up."""

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """One observation of a histogram."""

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """The present value of a gauge."""


class Uncounted:
    """Counts nothing: for whoever has no meter, such as a tool or a test."""

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """See `Counts`."""

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Counts`."""

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """See `Counts`."""


class Meter:
    """Counts for one process. `render` is what `/metrics` serves, `collect` what is pushed."""

    def __init__(self, process: Process | None = None) -> None:
        """`process`: its kind, whose metrics are there from the start; None: all of them."""
        self._registry = CollectorRegistry()
        self._counters: dict[Metric, Counter] = {}
        self._gauges: dict[Metric, Gauge] = {}
        self._histograms: dict[Metric, Histogram] = {}
        for metric in Metric:
            if process is None or process in metric.value.processes:
                self._make(metric)
        # Looking a series up by its labels takes longer than counting: each is looked up once.
        self._adders: dict[tuple[object, ...], Counter] = {}
        self._setters: dict[tuple[object, ...], Gauge] = {}
        self._observers: dict[tuple[object, ...], Histogram] = {}

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Count up. Raises KeyError for a metric that this kind of process does not have."""
        key = (metric, *labels.items())
        series = self._adders.get(key)
        if series is None:
            counter = self._counters[metric]
            series = self._adders[key] = counter.labels(**labels) if labels else counter
        series.inc(amount)

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """One observation of a histogram. Raises KeyError as `add`."""
        key = (metric, *labels.items())
        series = self._observers.get(key)
        if series is None:
            histogram = self._histograms[metric]
            series = self._observers[key] = histogram.labels(**labels) if labels else histogram
        series.observe(value)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """The present value of a gauge. Raises KeyError as `add`."""
        key = (metric, *labels.items())
        series = self._setters.get(key)
        if series is None:
            gauge = self._gauges[metric]
            series = self._setters[key] = gauge.labels(**labels) if labels else gauge
        series.set(value)

    def collect(self) -> Iterable[Family]:
        """Everything counted so far. May be called from any thread."""
        return self._registry.collect()

    def render(self) -> bytes:
        """Everything counted so far, in the Prometheus text format."""
        return generate_latest(self._registry)

    def _make(self, metric: Metric) -> None:
        spec = metric.value
        if spec.kind == "counter":
            self._counters[metric] = Counter(spec.name, spec.help, spec.labels, registry=self._registry)
        elif spec.kind == "gauge":
            self._gauges[metric] = Gauge(spec.name, spec.help, spec.labels, registry=self._registry)
        else:
            self._histograms[metric] = Histogram(
                spec.name, spec.help, spec.labels, buckets=spec.buckets, registry=self._registry
            )
