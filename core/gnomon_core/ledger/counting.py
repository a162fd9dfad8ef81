"""Where a schedule with `max_runs` has no slot any more: after so many of its slots were to run.

Slots that ran, or were to run and were withdrawn or expired, count; those that were skipped when they came due, missed
or coalesced do not. How many have counted so far is recorded, and not a function of the schedule: it has to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gnomon_core.ledger.stretches import Mark, Stretch

__all__ = ["LimitedRuns", "limited_runs", "until_exhausted"]


class LimitedRuns(NamedTuple):
    """Revisions of one schedule with `max_runs`. They count together: nobody has changed it between them."""

    first: int
    last: int
    max_runs: int


def limited_runs(marks: Iterable[Mark]) -> list[LimitedRuns]:
    """What counts together, of one task, from its marks in the order in which they were stored."""
    found: list[LimitedRuns] = []
    before: Mark | None = None
    for mark in marks:
        schedule = mark.schedule
        if schedule is not None and schedule.max_runs is not None:
            if before is not None and before.schedule == schedule:
                found[-1] = found[-1]._replace(last=mark.revision)
            else:
                found.append(LimitedRuns(mark.revision, mark.revision, schedule.max_runs))
        before = mark
    return found


def until_exhausted(
    pieces: Sequence[Stretch], runs: LimitedRuns, counted: int, last_s: int | None
) -> list[Stretch]:
    """Stretches without the time in which those revisions had no slot any more.

    `counted`: how many of their slots counted. `last_s`: nominal time of the last of which anything is recorded.
    """
    if counted < runs.max_runs or last_s is None:
        return list(pieces)
    end_ms = last_s * 1000
    return [
        piece._replace(until_ms=min(piece.until_ms, end_ms))
        if runs.first <= piece.revision <= runs.last
        else piece
        for piece in pieces
        if not runs.first <= piece.revision <= runs.last or piece.after_ms < end_ms
    ]
