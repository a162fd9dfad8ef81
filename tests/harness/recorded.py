"""What can be read off the events of executions: how many were under way at a time, and when each began."""

from __future__ import annotations

from collections.abc import Iterable

from tests.harness.events import Seen

__all__ = ["most_at_once", "most_in_any"]


def most_at_once(events: Iterable[Seen]) -> int:
    """The most executions that were under way at a time, in the order in which it was recorded.

    One is under way from its first claim until it is executed, or waits for its next attempt.
    """
    most, under_way = 0, set[tuple[str, str]]()
    for seen in events:
        if seen.name == "started":
            under_way.add((seen.task_id, seen.run))
        elif seen.name in {"executed", "retrying"}:
            under_way.discard((seen.task_id, seen.run))
        most = max(most, len(under_way))
    return most


def most_in_any(span_ms: int, at_ms: Iterable[int]) -> int:
    """The most of these instants that lie within any half-open span of such a length."""
    found = sorted(at_ms)
    return max((sum(one <= other < one + span_ms for other in found) for one in found), default=0)
