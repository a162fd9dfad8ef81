"""Traces: W3C Trace Context carried in the `traceparent` header from command or fire to result, and spans of
them.

What travels is the header alone, made and parsed here without any library, since the hot paths make
thousands a second. Spans are recorded only where `OTEL_*` says where they should go (`otel_settings`), and only then
is OpenTelemetry imported. See https://www.w3.org/TR/trace-context/.

Which spans there are, and what they are below:

    POST /api/v1/tasks             the request, below its caller's span
      decide task.create           a shard decides the command
    fire                           begins a trace for each slot, LINKED to `decide`; below it for a run on demand
      execute <type>               one attempt, from claim to acknowledgement
        project                    its events were written to the read models
      fire                         the next attempt after a retry
        execute <type>             ...
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext

__all__ = ["Tracing", "child_traceparent", "new_traceparent", "span_id_of", "trace_id_of"]

_TRACEPARENT = re.compile(
    # The lookaheads refuse what the specification calls invalid although it has the form.
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?",
    re.ASCII,
)
_SAMPLED = 1

Kind = Literal["server", "consumer", "producer", "internal"]
Attributes = Mapping[str, str | int | float | bool]

_chance = Random()
"""Trace ids have to differ, not to be secret, and asking the system for each was an eighth of a fire's time."""
os.register_at_fork(after_in_child=_chance.seed)


def new_traceparent() -> str:
    """A `traceparent` that begins a trace of its own, sampled."""
    return f"00-{_chance.getrandbits(128):032x}-{_chance.getrandbits(64):016x}-01"


def child_traceparent(parent: str) -> str:
    """A `traceparent` of the same trace with a new span; a new trace where `parent` cannot be read."""
    match = _read(parent)
    return new_traceparent() if match is None else f"00-{match[1]}-{_chance.getrandbits(64):016x}-{match[3]}"


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id of a `traceparent`, 32 hex digits; None where there is none to read."""
    match = _read(traceparent)
    return None if match is None else match[1]


def span_id_of(traceparent: str | None) -> str | None:
    """The span id of a `traceparent`, 16 hex digits; None where there is none to read."""
    match = _read(traceparent)
    return None if match is None else match[2]


def _read(traceparent: str | None) -> re.Match[str] | None:
    return _TRACEPARENT.fullmatch(traceparent) if traceparent else None


def _context(traceparent: str | None) -> SpanContext | None:
    from opentelemetry.trace import SpanContext, TraceFlags

    match = _read(traceparent)
    if match is None:
        return None
    return SpanContext(
        int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=TraceFlags(int(match[3], 16))
    )


class Tracing:
    """Records the spans of one process, or nothing at all."""

    def __init__(self, process: str, provider: TracerProvider | None) -> None:
        """`process`: its kind. `provider`: what records and pushes (`otlp.tracer_provider`); None: nothing does."""
        self.process = process
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("gnomon")

    @property
    def recording(self) -> bool:
        """Whether spans go anywhere."""
        return self._tracer is not None

    @contextmanager
    def span(
        self,
        name: str,
        traceparent: str | None,
        *,
        link: str | None = None,
        kind: Kind = "consumer",
        attributes: Attributes | None = None,
    ) -> Iterator[str]:
        """A span below `traceparent`, linked to another trace by `link`; yields the `traceparent` to hand on.

        An exception that passes through marks the span as failed.
        """
        if self._tracer is None:
            yield child_traceparent(traceparent) if traceparent else new_traceparent()
            return
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, set_span_in_context

        parent, linked = _context(traceparent), _context(link)
        # Never below whatever span happens to be the current one: what is above travels in the header.
        above = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
        with self._tracer.start_as_current_span(
            name,
            context=above,
            kind=SpanKind[kind.upper()],
            links=[Link(linked)] if linked else None,
            attributes=attributes,
        ) as span:
            context = span.get_span_context()
            yield f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def tell(self, error: str | None, attributes: Attributes, *, name: str | None = None) -> None:
        """Say more of the current span: attributes, `error` where what it stands for failed, a better name."""
        if self._tracer is None:
            return
        from opentelemetry.trace import Status, StatusCode, get_current_span

        span = get_current_span()
        span.set_attributes(dict(attributes))
        if name is not None:
            span.update_name(name)
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))

    def past(
        self, name: str, traceparent: str, begun_ns: int, ended_ns: int, attributes: Attributes | None = None
    ) -> None:
        """A span below `traceparent` of something that is over, if that trace is recorded. Times are since 1970."""
        parent = _context(traceparent) if self._tracer is not None else None
        if self._tracer is None or parent is None or not parent.trace_flags & _SAMPLED:
            return
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context

        above = set_span_in_context(NonRecordingSpan(parent), Context())
        span = self._tracer.start_span(
            name, context=above, kind=SpanKind.CONSUMER, start_time=begun_ns, attributes=attributes
        )
        span.end(ended_ns)

    def close(self) -> None:
        """Send what is still here. Blocks for as long as the receiver lets it: call it last, and off the loop."""
        if self._provider is not None:
            self._provider.shutdown()
