"""The `OTEL_*` variables that Gnomon reads itself, with the meaning that OpenTelemetry gives them.

The exporters read the rest of theirs from the environment (timeouts, compression, certificates, headers of one signal,
`OTEL_BSP_*`). See https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal
from urllib.parse import unquote

from gnomon_core.runtime.settings import Setting, Settings

__all__ = ["OtelSettings", "read_pairs"]

_DEFAULT_ENDPOINT = "http://localhost:4318"
_PAIR = re.compile(r"\s*([!-~]+?)\s*=\s*([ -~]*?)\s*", re.ASCII)
_PAIRS_WORDS = "key=value, several with commas; what is not ASCII, and a comma, as %XX"


def read_pairs(text: str) -> dict[str, str]:
    """Pairs as `OTEL_RESOURCE_ATTRIBUTES` and headers write them. Raises ValueError saying what is allowed."""
    pairs: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        match = _PAIR.fullmatch(part)
        if match is None:
            raise ValueError(_PAIRS_WORDS)
        pairs[unquote(match[1])] = unquote(match[2])
    return pairs


def _readable(text: str) -> bool:
    try:
        read_pairs(text)
    except ValueError:
        return False
    return True


def _http(text: str) -> bool:
    return re.fullmatch(r"https?://[^\s/]+\S*", text) is not None


def _protocol(variable: str) -> Setting:
    return Setting(
        variable=variable,
        choices=("http/protobuf",),
        allowed="http/protobuf, which collectors take on port 4318; grpc and http/json are not spoken",
    )


def _endpoint(variable: str) -> Setting:
    return Setting(variable=variable, check=_http, allowed="http://host:port or https://host:port")


class OtelSettings(Settings, frozen=True, kw_only=True):
    """Where traces and metrics are pushed, and which. Without an endpoint nothing is."""

    title: ClassVar[str] = "OpenTelemetry, for every process"

    endpoint: Annotated[str | None, _endpoint("OTEL_EXPORTER_OTLP_ENDPOINT")] = None
    """Where traces and metrics go by OTLP over HTTP, such as http://collector:4318; `/v1/traces` and `/v1/metrics`
    are put behind it. Empty: nothing is pushed, unless an exporter is asked for by name."""
    traces_endpoint: Annotated[str | None, _endpoint("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")] = None
    """Where traces go, when it is elsewhere; taken as it is."""
    metrics_endpoint: Annotated[str | None, _endpoint("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")] = None
    """Where metrics go, when it is elsewhere; taken as it is."""
    headers: Annotated[
        str | None,
        Setting(
            variable="OTEL_EXPORTER_OTLP_HEADERS",
            secret=True,
            check=_readable,
            allowed=_PAIRS_WORDS,
        ),
    ] = None
    """Headers of every push, such as an api key."""
    protocol: Annotated[str, _protocol("OTEL_EXPORTER_OTLP_PROTOCOL")] = "http/protobuf"
    """How OTLP is spoken."""
    traces_protocol: Annotated[str | None, _protocol("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")] = None
    """The same for traces."""
    metrics_protocol: Annotated[str | None, _protocol("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")] = None
    """The same for metrics."""
    traces_exporter: Annotated[
        str | None, Setting(variable="OTEL_TRACES_EXPORTER", choices=("otlp", "none"))
    ] = None
    """`otlp` pushes traces, to http://localhost:4318 when no endpoint is named; `none` pushes none. Empty: pushed
    when there is an endpoint."""
    metrics_exporter: Annotated[
        str | None, Setting(variable="OTEL_METRICS_EXPORTER", choices=("otlp", "none", "prometheus"))
    ] = None
    """The same for metrics. `/metrics` is there in any case, so `prometheus` means `none`."""
    temporality: Annotated[
        str,
        Setting(
            variable="OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
            choices=("cumulative",),
            allowed="cumulative; a collector turns it into delta where that is wanted",
        ),
    ] = "cumulative"
    """Whether metrics count from the start of the process or from the last push."""
    export_interval_ms: Annotated[
        int, Setting(variable="OTEL_METRIC_EXPORT_INTERVAL", least=100, most=3_600_000)
    ] = 60_000
    """Milliseconds between two pushes of metrics."""
    sampler: Annotated[
        str,
        Setting(
            variable="OTEL_TRACES_SAMPLER",
            choices=(
                "parentbased_always_on",
                "parentbased_always_off",
                "parentbased_traceidratio",
                "always_on",
                "always_off",
                "traceidratio",
            ),
        ),
    ] = "parentbased_always_on"
    """Which traces are recorded. The ones that begin with `parentbased_` record what their caller records."""
    sampler_ratio: Annotated[float, Setting(variable="OTEL_TRACES_SAMPLER_ARG", least=0, most=1)] = 1.0
    """The share of traces that the samplers named `traceidratio` record, 0 to 1."""
    service_name: Annotated[str | None, Setting(variable="OTEL_SERVICE_NAME")] = None
    """Name of the service in traces and metrics; empty: gnomon-scheduler, gnomon-executor or gnomon-api."""
    resource_attributes: Annotated[
        str,
        Setting(variable="OTEL_RESOURCE_ATTRIBUTES", check=_readable, allowed=_PAIRS_WORDS),
    ] = ""
    """What else is told of the process, such as deployment.environment.name=staging."""
    disabled: Annotated[bool, Setting(variable="OTEL_SDK_DISABLED")] = False
    """Push nothing at all, whatever else is set."""

    def target(self, signal: Literal["traces", "metrics"]) -> str | None:
        """The address that a signal is pushed to; None: it is not pushed."""
        exporter = self.traces_exporter if signal == "traces" else self.metrics_exporter
        own = self.traces_endpoint if signal == "traces" else self.metrics_endpoint
        if self.disabled or exporter in ("none", "prometheus"):
            return None
        if own is not None:
            return own
        base = self.endpoint or (_DEFAULT_ENDPOINT if exporter == "otlp" else None)
        return None if base is None else f"{base.rstrip('/')}/v1/{signal}"
