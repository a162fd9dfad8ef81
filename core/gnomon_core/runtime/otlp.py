"""Pushing traces and metrics by OTLP over HTTP: what `OTEL_*` asks for, made of OpenTelemetry's own exporters.

This module is imported only when something is to be pushed: OpenTelemetry's SDK and what it needs cost a process a
third of a second to import, and ten megabytes.

Metrics are not recorded a second time for it. At each interval a thread of its own reads the registry that `/metrics`
renders, and hands the exporter the same numbers: the hot paths do not know of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as Told
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from gnomon_core.runtime.metrics import Family, Meter
from gnomon_core.runtime.otel_settings import OtelSettings, read_pairs

__all__ = ["MetricsPush", "resource_of", "tracer_provider"]

_SCOPE = InstrumentationScope("gnomon")
_NS = 1_000_000_000
_UNITS = {"seconds": "s", "bytes": "By"}


def resource_of(settings: OtelSettings, process: str, *, instance: str, version: str) -> Resource:
    """Who pushes: the process by its kind, id and version, unless the settings say otherwise."""
    attributes: dict[str, str] = {
        "service.namespace": "gnomon",
        "service.name": f"gnomon-{process}",
        "service.instance.id": instance,
        "service.version": version,
        **read_pairs(settings.resource_attributes),
    }
    if settings.service_name:
        attributes["service.name"] = settings.service_name
    return Resource.create(attributes)


def tracer_provider(settings: OtelSettings, endpoint: str, resource: Resource) -> TracerProvider:
    """What records spans and pushes them to `endpoint`. Whoever asked for it shuts it down."""
    provider = TracerProvider(resource=resource, sampler=_sampler(settings), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


def _sampler(settings: OtelSettings) -> Sampler:
    kind = settings.sampler.removeprefix("parentbased_")
    root: Sampler = {"always_on": ALWAYS_ON, "always_off": ALWAYS_OFF}.get(kind) or TraceIdRatioBased(
        settings.sampler_ratio
    )
    return ParentBased(root) if settings.sampler.startswith("parentbased_") else root


class MetricsPush:
    """Pushes what a meter counts, at each interval and once more at the end."""

    def __init__(self, meter: Meter, settings: OtelSettings, endpoint: str, resource: Resource) -> None:
        self._meter = meter
        self._resource = resource
        self._interval = settings.export_interval_ms / 1000
        self._exporter = OTLPMetricExporter(endpoint=endpoint)
        self._begun_ns = time.time_ns()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gnomon-otlp-metrics", daemon=True)

    def start(self) -> None:
        """Begin to push."""
        self._thread.start()

    def shutdown(self) -> None:
        """Push what there is, and stop. Blocks for as long as the receiver lets it."""
        self._ending.set()
        self._thread.join()
        self._push()
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._ending.wait(self._interval):
            self._push()

    def _push(self) -> None:
        # The exporter logs what goes wrong; the numbers are cumulative, so the next push makes up for this one.
        told = told_of(self._meter.collect(), self._begun_ns, time.time_ns())
        scope = ScopeMetrics(scope=_SCOPE, metrics=told, schema_url="")
        resource = ResourceMetrics(resource=self._resource, scope_metrics=[scope], schema_url="")
        self._exporter.export(MetricsData(resource_metrics=[resource]))


def told_of(families: Iterable[Family], begun_ns: int, now_ns: int) -> list[Told]:
    """Families of a registry as OpenTelemetry's metrics, under the names that `/metrics` has."""
    told: list[Told] = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        data = _data(family, begun_ns, now_ns)
        if data.data_points:
            unit = _UNITS.get(family.name.rpartition("_")[2], "1")
            told.append(Told(name=name, description=family.documentation, unit=unit, data=data))
    return told


def _data(family: Family, begun_ns: int, now_ns: int) -> Sum | Gauge | Histogram:
    if family.type == "histogram":
        return Histogram(_histogram_points(family, begun_ns, now_ns), AggregationTemporality.CUMULATIVE)
    points = [NumberDataPoint(sample.labels, begun_ns, now_ns, sample.value) for sample in family.samples]
    if family.type == "counter":
        return Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return Gauge(points)


def _histogram_points(family: Family, begun_ns: int, now_ns: int) -> Sequence[HistogramDataPoint]:
    """One point for each set of labels. Prometheus counts up to each bound, OpenTelemetry between bounds."""
    series: dict[frozenset[tuple[str, str]], dict[str, Any]] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        one = series.setdefault(
            frozenset(labels.items()), {"labels": labels, "up_to": [], "bounds": [], "sum": 0.0}
        )
        if sample.name.endswith("_bucket"):
            one["up_to"].append(round(sample.value))
            one["bounds"].append(float(sample.labels["le"]))
        elif sample.name.endswith("_sum"):
            one["sum"] = sample.value
    return [_histogram_point(one, begun_ns, now_ns) for one in series.values()]


def _histogram_point(one: Mapping[str, Any], begun_ns: int, now_ns: int) -> HistogramDataPoint:
    up_to = one["up_to"]
    between = [now - before for now, before in zip(up_to, [0, *up_to], strict=False)]
    return HistogramDataPoint(
        attributes=one["labels"],
        start_time_unix_nano=begun_ns,
        time_unix_nano=now_ns,
        count=up_to[-1],
        sum=one["sum"],
        bucket_counts=between,
        explicit_bounds=one["bounds"][:-1],  # the last is infinity, which is implied
        min=None,  # type: ignore[arg-type]  # optional in the protocol, and the registry does not keep it
        max=None,  # type: ignore[arg-type]  # the same
    )
