"""Traces: W3C Trace Context carried in the `traceparent` header from command or fire to result, and spans of
them.

What travels is the header alone, made and parsed here without any library, since the hot paths make
thousands a second. Spans are recorded only where `OTEL_EXPORTER_OTLP_ENDPOINT` says where they should go
(OTLP over HTTP). See https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["Tracing", "child_traceparent", "new_traceparent", "trace_id_of"]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)


def new_traceparent() -> str:
    """A `traceparent` that begins a trace of its own, sampled."""
    return f"00-{token_hex(16)}-{token_hex(8)}-01"


def child_traceparent(parent: str) -> str:
    """A `traceparent` of the same trace with a new span; a new trace where `parent` cannot be read."""
    match = _TRACEPARENT.fullmatch(parent)
    return new_traceparent() if match is None else f"00-{match[1]}-{token_hex(8)}-{match[3]}"


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id of a `traceparent`, 32 hex digits; None where there is none to read."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return None if match is None else match[1]


def _context(traceparent: str | None) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    return SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16))
    )


class Tracing:
    """Records the spans of one process, or nothing at all."""

    def __init__(self, process: str, endpoint: str | None) -> None:
        """`endpoint`: where OTLP goes, such as http://collector:4318; None: spans are not recorded."""
        self._provider: TracerProvider | None = None
        if endpoint:
            # Only here: the exporter and what it needs cost every process a third of a second to import.
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            self._provider = TracerProvider(resource=Resource.create({"service.name": f"gnomon-{process}"}))
            exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
            self._provider.add_span_processor(BatchSpanProcessor(exporter))

    @property
    def recording(self) -> bool:
        """Whether spans go anywhere."""
        return self._provider is not None

    @contextmanager
    def span(
        self,
        name: str,
        traceparent: str | None,
        *,
        link: str | None = None,
        attributes: Mapping[str, str | int | float | bool] | None = None,
    ) -> Iterator[str]:
        """A span below `traceparent`, linked to another trace by `link`; yields the `traceparent` to hand on.

        An exception that passes through marks the span as failed.
        """
        if self._provider is None:
            yield child_traceparent(traceparent) if traceparent else new_traceparent()
            return
        parent, linked = _context(traceparent), _context(link)
        with self._provider.get_tracer("gnomon").start_as_current_span(
            name,
            context=trace.set_span_in_context(NonRecordingSpan(parent)) if parent else None,
            kind=SpanKind.CONSUMER,
            links=[Link(linked)] if linked else None,
            attributes=attributes,
        ) as span:
            context = span.get_span_context()
            try:
                yield f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
            except Exception as error:
                span.set_status(Status(StatusCode.ERROR, str(error)))
                raise

    def close(self) -> None:
        """Send what is still here. Blocks for a moment: call it last."""
        if self._provider is not None:
            self._provider.shutdown()
