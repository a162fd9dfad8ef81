"""Traces: the `traceparent` that travels with commands, dues and events, and spans for those who collect
them.

A trace goes from a command, or from a fire, to the execution and its events, by the W3C header `traceparent`
on the messages. That costs next to nothing and is always done. Spans are made and exported (OTLP over HTTP)
only when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the rest of the `OTEL_*` variables have the meaning that
OpenTelemetry gives them.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from typing_extensions import override

from gnomon_core.runtime.service import Service

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["TRACEPARENT", "Trace", "Tracer", "new_trace", "parse_traceparent"]

TRACEPARENT = "traceparent"
"""Name of the header."""

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class Trace(msgspec.Struct, frozen=True):
    """A place in a trace: what `traceparent` says."""

    trace_id: str
    """32 hexadecimal digits, not all zero."""
    span_id: str
    """16 hexadecimal digits, not all zero."""
    sampled: bool = True
    """Whoever began the trace wants it recorded."""

    def child(self) -> Trace:
        """A new span of the same trace."""
        return Trace(self.trace_id, secrets.token_hex(8), self.sampled)

    @property
    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def new_trace() -> Trace:
    """The first span of a trace of its own."""
    return Trace(secrets.token_hex(16), secrets.token_hex(8))


def parse_traceparent(text: str | None) -> Trace | None:
    """The place that a header names; None when there is none or it is not valid, which starts a trace
    anew."""
    match = _FORM.fullmatch(text.strip().lower()) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags = match.groups()
    if version == "ff" or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Trace(trace_id, span_id, bool(int(flags, 16) & 1))


class Tracer(Service):
    """Makes spans and exports them, or only passes traces on where nobody collects them."""

    def __init__(self, process: str, endpoint: str | None, *, version: str = "") -> None:
        """`endpoint`: the setting `otlp_endpoint`; None exports nothing."""
        super().__init__("tracing")
        self._process = process
        self._version = version
        self._provider: TracerProvider | None = _provider(process, version) if endpoint else None

    @property
    def exports(self) -> bool:
        """Whether spans are exported."""
        return self._provider is not None

    @contextmanager
    def span(
        self,
        name: str,
        parent: Trace | None = None,
        *,
        links: Sequence[Trace] = (),
        attributes: Mapping[str, str | int | float | bool] | None = None,
    ) -> Iterator[Trace]:
        """A span for the length of a block, under `parent` or as the first of a new trace; where it is in
        its trace.

        `links` name other traces that belong to it without being above it. What the block raises is noted
        and goes on.
        """
        if self._provider is None:
            yield parent.child() if parent is not None else new_trace()
            return
        from opentelemetry import trace as api

        context = (
            api.set_span_in_context(api.NonRecordingSpan(_context(parent))) if parent is not None else None
        )
        tracer = self._provider.get_tracer("gnomon", self._version)
        with tracer.start_as_current_span(
            name,
            context=context,
            links=[api.Link(_context(link)) for link in links],
            attributes=dict(attributes or {}),
        ) as span:
            here = span.get_span_context()
            yield Trace(f"{here.trace_id:032x}", f"{here.span_id:016x}", here.trace_flags.sampled)

    @override
    async def on_stop(self) -> None:
        """Export what is left. The exporter blocks, so a thread waits for it."""
        if self._provider is not None:
            await asyncio.to_thread(self._provider.shutdown)


def _context(place: Trace) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        trace_id=int(place.trace_id, 16),
        span_id=int(place.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT),
    )


def _provider(process: str, version: str) -> TracerProvider:
    """OpenTelemetry's machinery, imported only where it is used: it takes a fifth of a second."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say is put over these by `create`.
    named = Resource.create({"service.namespace": "gnomon", "service.version": version})
    if named.attributes.get("service.name", "unknown_service").startswith("unknown_service"):  # type: ignore[union-attr]
        named = named.merge(Resource({"service.name": f"gnomon-{process}"}))
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
