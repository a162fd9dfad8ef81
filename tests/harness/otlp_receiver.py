"""A receiver of OTLP over HTTP, as a collector is one: it reads the real protocol and keeps what it was sent."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness.waiting import until

__all__ = ["OtlpReceiver", "Span"]


class Span(NamedTuple):
    """A span as it was received; ids in hex digits."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    links: tuple[tuple[str, str], ...]
    """(trace id, span id) of each link."""
    attributes: dict[str, Any]
    failed: bool


class OtlpReceiver:
    """`with OtlpReceiver() as receiver:` listens on a free port of the loopback."""

    def __init__(self, *, status: int = 200) -> None:
        self.spans: list[Span] = []
        self.metrics: dict[str, list[tuple[str, Any]]] = {}
        """By name: (service, the protocol's metric) of each push, in order."""
        self.resources: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                if status == 200:
                    receiver.take(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """For `OTEL_EXPORTER_OTLP_ENDPOINT`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> OtlpReceiver:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, body: bytes) -> None:
        """Keep one push. Raises for what is not the protocol, which the sender hears as a broken connection."""
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                told = self._resource(resource.resource)
                for scope in resource.scope_spans:
                    self.spans += [_span(told["service.name"], span) for span in scope.spans]
        elif path == "/v1/metrics":
            for found in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                told = self._resource(found.resource)
                for metrics in found.scope_metrics:
                    for metric in metrics.metrics:
                        self.metrics.setdefault(metric.name, []).append((told["service.name"], metric))
        else:
            raise ValueError(f"{path} is no path of OTLP")

    async def spans_where(self, count: int, within: float = 30.0, **wanted: str) -> list[Span]:
        """Wait for so many spans with these fields or attributes (`execution_id` for `gnomon.execution_id`)."""

        def found() -> list[Span]:
            return [span for span in self.spans if all(_has(span, *one) for one in wanted.items())]

        try:
            await until(lambda: len(found()) >= count, within)
        except TimeoutError:
            heard = "\n".join(f"{span}" for span in self.spans)
            raise TimeoutError(
                f"{count} spans with {wanted} did not come within {within:g} s:\n{heard}"
            ) from None
        return found()

    def _resource(self, resource: Any) -> dict[str, Any]:
        told = {one.key: one.value.string_value for one in resource.attributes}
        self.resources.append(told)
        return told


def _has(span: Span, name: str, value: str) -> bool:
    return value == (getattr(span, name) if name in Span._fields else span.attributes.get(f"gnomon.{name}"))


def _span(service: str, span: Any) -> Span:
    return Span(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes},
        span.status.code == 2,
    )
