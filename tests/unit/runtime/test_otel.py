"""What `OTEL_*` asks for, what of it is refused, and that metrics arrive by OTLP as `/metrics` tells them."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Literal

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.otel_settings import OtelSettings
from gnomon_core.runtime.otlp import MetricsPush, resource_of, tracer_provider
from gnomon_core.runtime.settings import SettingsError
from gnomon_core.runtime.tracing import Tracing, child_traceparent, trace_id_of
from tests.harness.otlp_receiver import OtlpReceiver
from tests.harness.waiting import until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, None, None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"},
            "http://c:4318/v1/traces",
            "http://c:4318/v1/metrics",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x",
            },
            "http://t/x",
            "http://c:4318/v1/metrics",
        ),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m/x"}, None, "http://m/x"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces", None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
            None,
            "http://c:4318/v1/metrics",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_METRICS_EXPORTER": "prometheus"},
            "http://c:4318/v1/traces",
            None,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, None, None),
    ],
)
def test_where_each_signal_goes(environ: dict[str, str], traces: str | None, metrics: str | None) -> None:
    """The rules of the specification, and nothing at all when nothing is said."""
    settings = OtelSettings.load(environ)
    assert (settings.target("traces"), settings.target("metrics")) == (traces, metrics)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "http://host:port"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp, none"),
        ("OTEL_METRICS_EXPORTER", "console", "prometheus"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "parentbased_always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "0 to 1"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5s", "a whole number"),
        ("OTEL_RESOURCE_ATTRIBUTES", "staging", "key=value"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "cumulative"),
    ],
)
def test_what_is_not_spoken_is_refused_by_name_value_and_what_is_allowed(
    variable: str, value: str, words: str
) -> None:
    """A setting that would be ignored in silence is worse than a process that does not start."""
    with pytest.raises(SettingsError) as refusal:
        OtelSettings.load({variable: value})
    assert f"{variable}={value!r}" in str(refusal.value)
    assert words in str(refusal.value)


def test_headers_that_cannot_be_read_are_refused_without_being_shown() -> None:
    """They hold keys."""
    with pytest.raises(SettingsError) as refusal:
        OtelSettings.load({"OTEL_EXPORTER_OTLP_HEADERS": "Bearer secret"})
    assert "secret" not in str(refusal.value)


def test_samplers_by_their_names() -> None:
    """Those with `parentbased_` do as the caller does, and the ratio is theirs."""

    def sampler(**environ: str) -> object:
        settings = OtelSettings.load(environ)
        resource = resource_of(settings, "api", instance="a", version="1")
        provider = tracer_provider(settings, "http://127.0.0.1:9/v1/traces", resource)
        provider.shutdown()
        return provider.sampler

    assert sampler(OTEL_TRACES_SAMPLER="always_off") is ALWAYS_OFF
    ratio = sampler(OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25")
    assert isinstance(ratio, TraceIdRatioBased)
    assert ratio.rate == 0.25
    assert isinstance(sampler(), ParentBased)


async def test_metrics_arrive_as_the_registry_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, labels, sums and buckets, cumulative, from whom the settings say, with the headers that they say."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc%20d")
    meter = Meter("scheduler")
    with OtlpReceiver() as receiver:
        settings = OtelSettings.load(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
                "OTEL_METRIC_EXPORT_INTERVAL": "100",
                "OTEL_SERVICE_NAME": "mine",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=st%C3%A4ging,service.version=9",
            }
        )
        target = settings.target("metrics")
        assert target is not None
        resource = resource_of(settings, "scheduler", instance="s-1", version="1")
        push = MetricsPush(meter, settings, target, resource)
        meter.add(Metric.FIRES, 3, trigger="schedule")
        push.start()
        await until(lambda: "gnomon_fires_total" in receiver.metrics)
        for seconds in (0.003, 0.004, 70.0):
            meter.record(Metric.FIRE_LATENESS, seconds, trigger="schedule")
        meter.set(Metric.SHARDS_LED, 4)
        meter.add(Metric.FIRES, 2, trigger="schedule")
        push.shutdown()

        service, fires = receiver.metrics["gnomon_fires_total"][-1]
        assert service == "mine"
        assert fires.sum.is_monotonic
        assert fires.sum.aggregation_temporality == 2, "cumulative"
        (point,) = fires.sum.data_points
        assert (point.as_double, point.attributes[0].value.string_value) == (5, "schedule")
        assert 0 < point.start_time_unix_nano <= point.time_unix_nano <= time.time_ns()

        _, lateness = receiver.metrics["gnomon_fire_lateness_seconds"][-1]
        (point,) = lateness.histogram.data_points
        assert lateness.unit == "s"
        assert (point.count, point.sum) == (3, pytest.approx(70.007))
        assert tuple(point.explicit_bounds) == Metric.FIRE_LATENESS.value.buckets
        between = dict(zip([*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True))
        assert {bound: count for bound, count in between.items() if count} == {0.005: 2, float("inf"): 1}

        _, led = receiver.metrics["gnomon_shards_led"][-1]
        assert led.gauge.data_points[0].as_double == 4
        assert receiver.resources[-1]["deployment.environment.name"] == "stäging"
        assert receiver.resources[-1]["service.version"] == "9"
        assert receiver.resources[-1]["service.instance.id"] == "s-1"
        assert {headers["x-key"] for headers in receiver.headers} == {"abc d"}
        assert "gnomon_executions_total" not in receiver.metrics, "not the scheduler's"


async def test_what_is_pushed_and_what_is_rendered_are_the_same_list() -> None:
    """Every family that `/metrics` shows with a value is pushed under the same name."""
    meter = Meter()
    for metric in Metric:
        labels = dict.fromkeys(metric.value.labels, "x")
        if metric.value.kind == "counter":
            meter.add(metric, 1, **labels)
        elif metric.value.kind == "gauge":
            meter.set(metric, 1, **labels)
        else:
            meter.record(metric, 1, **labels)
    rendered = {line.split()[2] for line in meter.render().decode().splitlines() if line.startswith("# TYPE")}
    with OtlpReceiver() as receiver:
        settings = OtelSettings(endpoint=receiver.url)
        push = MetricsPush(
            meter,
            settings,
            settings.target("metrics") or "",
            resource_of(settings, "api", instance="a", version="1"),
        )
        push.start()
        push.shutdown()
        assert set(receiver.metrics) == rendered == {metric.value.name for metric in Metric}


def test_nothing_of_opentelemetry_is_imported_when_nothing_is_pushed() -> None:
    """It would cost every process a third of a second and ten megabytes."""
    program = (
        "import sys, gnomon_scheduler.bootstrap, gnomon_executor.bootstrap, gnomon_api.bootstrap\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    ],
)
def test_a_header_that_is_none_begins_a_new_trace(header: str) -> None:
    """As the specification wants it."""
    assert trace_id_of(header) is None
    assert trace_id_of(child_traceparent(header)) is not None


def _fail_within(tracing: Tracing) -> None:
    with tracing.span("y", None, link=TRACEPARENT) as other:
        assert trace_id_of(other) != trace_id_of(TRACEPARENT)
        _ = 1 / 0


Recording = Literal["recorded", "not recorded"]


@pytest.mark.parametrize("recording", ["recorded", "not recorded"])
def test_a_span_hands_the_trace_on_whether_it_is_recorded_or_not(recording: Recording) -> None:
    """The header that is handed on is the span's own: same trace, another span, the caller's flags."""
    settings = OtelSettings()
    resource = resource_of(settings, "api", instance="a", version="1")
    with OtlpReceiver() as receiver:
        provider = tracer_provider(settings, f"{receiver.url}/v1/traces", resource)
        tracing = Tracing("api", provider if recording == "recorded" else None)
        with tracing.span("x", TRACEPARENT) as handed_on:
            assert trace_id_of(handed_on) == trace_id_of(TRACEPARENT)
            assert handed_on != TRACEPARENT
            assert handed_on.endswith("-01")
        with pytest.raises(ZeroDivisionError):
            _fail_within(tracing)
        tracing.close()
        provider.shutdown()
    if recording == "recorded":
        first, second = receiver.spans
        assert (first.parent_id, first.failed) == ("b7ad6b7169203331", False)
        assert (second.links, second.failed) == (
            (("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"),),
            True,
        )
    else:
        assert receiver.spans == []
