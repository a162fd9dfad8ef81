"""Every metric of every process, in one list, and the meter that a process counts with.

Names follow Prometheus: `_total` for counters, base units, seconds. A record costs a few microseconds, so
hot loops count per batch (`add` with the batch's size) and not per message.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, NamedTuple

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.metrics import _Gauge as Gauge
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from prometheus_client import CollectorRegistry, generate_latest

__all__ = ["Meter", "Metric", "MetricSpec"]

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


class Metric(Enum):
    """The list. Labels are few and bounded: never ids."""

    FIRE_LATENESS = MetricSpec(
        "gnomon_fire_lateness_seconds",
        "histogram",
        "Time from when a slot was due to when its due was published.",
        ("trigger",),
        _LATENCY,
    )
    FIRES = MetricSpec("gnomon_fires_total", "counter", "Dues published.", ("trigger",))
    OUTCOMES = MetricSpec(
        "gnomon_outcomes_total",
        "counter",
        "Outcomes folded by shard leaders: executed by status, skipped and missed by reason.",
        ("outcome", "reason"),
    )
    COMMANDS = MetricSpec(
        "gnomon_commands_total",
        "counter",
        "Commands decided, by verb and `ok` or problem code.",
        ("verb", "result"),
    )
    COMMIT_SECONDS = MetricSpec(
        "gnomon_commit_seconds", "histogram", "Time to store one batch of a shard.", (), _LATENCY
    )
    BATCH_MESSAGES = MetricSpec(
        "gnomon_batch_messages", "histogram", "Messages in a shard's batch.", (), _SIZES
    )
    SHARDS_LED = MetricSpec("gnomon_shards_led", "gauge", "Shards that this process leads.")
    SHARD_TAKEOVERS = MetricSpec("gnomon_shard_takeovers_total", "counter", "Shards taken over.")
    SHARD_TAKEOVER_SECONDS = MetricSpec(
        "gnomon_shard_takeover_seconds", "histogram", "Time from lease to the first turn.", (), _LATENCY
    )
    DEPOSITIONS = MetricSpec(
        "gnomon_depositions_total", "counter", "Times that a leader found another leading after it."
    )
    EXECUTIONS = MetricSpec(
        "gnomon_executions_total",
        "counter",
        "Executions whose result this executor stored.",
        ("task_type", "status"),
    )
    EXECUTION_SECONDS = MetricSpec(
        "gnomon_execution_seconds", "histogram", "Run time of handlers.", ("task_type",), _RUN
    )
    START_LATENESS = MetricSpec(
        "gnomon_start_lateness_seconds",
        "histogram",
        "Time from when a slot was due to the handler's start.",
        (),
        _LATENCY,
    )
    EXECUTIONS_RUNNING = MetricSpec(
        "gnomon_executions_running", "gauge", "Handlers at work in this executor."
    )
    CLAIM_CONFLICTS = MetricSpec(
        "gnomon_claim_conflicts_total",
        "counter",
        "Claims and results refused because the chain had moved.",
        ("row",),
    )
    TAKEOVERS = MetricSpec(
        "gnomon_takeovers_total", "counter", "Attempts taken over from an executor that had gone."
    )
    PROJECTED = MetricSpec("gnomon_projected_events_total", "counter", "Events written to the read models.")
    PROJECTOR_SECONDS = MetricSpec(
        "gnomon_projector_batch_seconds", "histogram", "Time to write one batch of events.", (), _LATENCY
    )
    PROJECTOR_LAG = MetricSpec("gnomon_projector_lag_events", "gauge", "Events that wait for the projector.")
    PROJECTOR_UNREADABLE = MetricSpec(
        "gnomon_projector_unreadable_total", "counter", "Events archived that could not be read."
    )
    HTTP_SECONDS = MetricSpec(
        "gnomon_http_request_seconds",
        "histogram",
        "Time to answer a request.",
        ("method", "route", "status"),
        _LATENCY,
    )
    SSE_CLIENTS = MetricSpec("gnomon_sse_clients", "gauge", "Open streams of server-sent events.")


class Meter:
    """Counts for one process. `render` is what `/metrics` serves."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        # The reader adds `_total` and the unit itself, so the instruments go by the bare names of the list.
        reader = PrometheusMetricReader(
            disable_target_info=True, scope_info_enabled=False, registry=self._registry
        )
        views = [
            View(
                instrument_name=metric.value.name,
                aggregation=ExplicitBucketHistogramAggregation(metric.value.buckets),
            )
            for metric in Metric
            if metric.value.buckets
        ]
        self._provider = MeterProvider(metric_readers=[reader], views=views, shutdown_on_exit=False)
        meter = self._provider.get_meter("gnomon")
        self._counters: dict[Metric, Counter] = {}
        self._histograms: dict[Metric, Histogram] = {}
        self._gauges: dict[Metric, Gauge] = {}
        for metric in Metric:
            spec = metric.value
            if spec.kind == "counter":
                name = spec.name.removesuffix("_total")
                self._counters[metric] = meter.create_counter(name, description=spec.help)
            elif spec.kind == "histogram":
                self._histograms[metric] = meter.create_histogram(spec.name, description=spec.help)
            else:
                self._gauges[metric] = meter.create_gauge(spec.name, description=spec.help)

    def add(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Count up."""
        self._counters[metric].add(amount, labels)

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """One observation of a histogram."""
        self._histograms[metric].record(value, labels)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """The present value of a gauge."""
        self._gauges[metric].set(value, labels)

    def render(self) -> bytes:
        """Everything counted so far, in the Prometheus text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Stop."""
        self._provider.shutdown()
