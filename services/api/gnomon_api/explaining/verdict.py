"""Which kind of question it is, and the answer."""

from __future__ import annotations

from gnomon_api.explaining.chains import explain_chain
from gnomon_api.explaining.coming import explain_coming
from gnomon_api.explaining.facts import Explanation, Facts
from gnomon_api.explaining.no_slots import explain_no_slot, explain_nothing, why_there_is_none
from gnomon_api.explaining.past import Past
from gnomon_api.explaining.spans import explain_span

__all__ = ["explain"]


def explain(facts: Facts) -> Explanation:
    """The verdict on these facts, and what led to it."""
    if facts.execution is not None and facts.chain:
        return explain_chain(facts, facts.execution)
    at_ms = facts.at_ms
    if at_ms is None:
        return explain_nothing(facts, "It has no schedule and has not been run yet: it runs on demand only.")
    past = Past(facts, at_ms // 1000)
    if facts.span is not None:
        return explain_span(facts, at_ms, past, facts.span)
    why_not = why_there_is_none(facts, at_ms, past)
    if why_not is not None or not past.is_slot(at_ms):
        return explain_no_slot(at_ms, past, why_not)
    return explain_coming(facts, at_ms, past)
