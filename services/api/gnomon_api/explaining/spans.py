"""Slots that were passed over in bulk: the event of the span tells which rule did."""

from __future__ import annotations

from msgspec import UNSET

from gnomon_api.explaining.chains import lease_step, projection_step
from gnomon_api.explaining.facts import Explanation, Facts, Span, Step
from gnomon_api.explaining.no_slots import explain_no_slot
from gnomon_api.explaining.past import Past
from gnomon_api.explaining.words import outcome_words
from gnomon_schemas.clock_text import format_instant, instant_ms

__all__ = ["explain_span"]


def explain_span(facts: Facts, at_ms: int, past: Past, span: Span) -> Explanation:
    """The verdict on an instant in a span; it need not be a slot."""
    # Slots of a pause are counted when it ends, by the rules of that time.
    counted_ms = instant_ms(span.to_at) - 1000 if span.reason == "paused" else None
    if not past.is_slot(at_ms, counted_ms):
        return explain_no_slot(at_ms, past)
    schedule, event = past.step(), span.event
    steps = [] if schedule is None else [schedule]
    at = format_instant(at_ms)
    steps.append(Step(at=at, what="slot", seq=None, detail=f"of revision {span.revision}"))
    if event is not None and event.epoch is not UNSET:
        steps.append(lease_step(event.epoch, facts.shard))
    words = f"{span.reason}: one of {span.slots} slots from {span.from_at} until before {span.to_at}"
    if span.into:
        words += f"; run {span.into} stood in for them"
    if event is not None and event.detail is not UNSET:
        words += f"; {event.detail}"
    steps.append(Step(at=span.occurred_at, what=span.outcome, seq=span.seq, detail=words))
    return Explanation(
        slot=at,
        verdict=span.outcome,
        reason=outcome_words(span.outcome, event, span.reason, span.into, facts.task),
        steps=(*steps, *projection_step(facts, span.seq)),
    )
