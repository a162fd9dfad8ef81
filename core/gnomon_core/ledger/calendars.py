"""By which calendar a stretch's slots were made: the rules of zones and holidays of its time, where they are kept.

A shard goes by one set of rules until an instant, then by another. A task whose slots that moved has a new revision
for it, with the same schedule, which begins earlier: where the shard's former leader stopped. So a stretch that such a
revision begins goes by the rules that came with it, from its very beginning. Every other stretch is cut where the
rules changed: there its slots are the same under both, or it would have been re-planned.

Slots of a pause are counted when it ends, by the rules of that time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from gnomon_core.ledger.stretches import ENDLESS_MS, State, Stretch
from gnomon_core.timing import as_of, names_of
from gnomon_schemas.schedules import Schedule

__all__ = ["InForce", "Pasts", "schedule_at", "under_calendars"]


class InForce(NamedTuple):
    """Rules of one part of the calendar."""

    until_ms: int
    """Slots were made by them up to here, in epoch milliseconds; `ENDLESS_MS`: they still are."""
    kept_as: str
    """The name that they have in schedules (`gnomon_core.timing.keep`)."""


Pasts: TypeAlias = Mapping[str, Sequence[InForce]]
"""By name of the part, its rules in order; the last ones are endless. What is not in it was never another."""


def under_calendars(pieces: Sequence[Stretch], pasts: Pasts) -> list[Stretch]:
    """Stretches of one task, in order, each with the schedule as it was under the rules of its time."""
    if not pasts:
        return list(pieces)
    found: list[Stretch] = []
    before: Stretch | None = None
    for piece in pieces:
        found += _under(piece, _is_replanned(before, piece), pasts)
        before = piece
    return found


def schedule_at(schedule: Schedule, pasts: Pasts, at_ms: int, replanned_ms: int | None = None) -> Schedule:
    """A schedule as it was under the rules of an instant. `replanned_ms`: since when it goes by newer rules."""
    rules = {name: pasts[name] for name in names_of(schedule) if name in pasts}
    if replanned_ms is not None:
        at_ms = max(at_ms, _change_after(rules, replanned_ms))
    return _schedule_under(schedule, rules, at_ms)


def _is_replanned(before: Stretch | None, piece: Stretch) -> bool:
    return before is not None and before.schedule == piece.schedule and piece.revision == before.revision + 1


def _under(piece: Stretch, replanned: bool, pasts: Pasts) -> Iterator[Stretch]:
    rules = {name: pasts[name] for name in names_of(piece.schedule) if name in pasts}
    changes = sorted({one.until_ms for of_name in rules.values() for one in of_name})
    if not rules:
        yield piece
        return
    if piece.state is State.PAUSED:
        yield _as_of(piece, rules, min(piece.until_ms, ENDLESS_MS - 1))
        return
    at_ms = _change_after(rules, piece.after_ms) if replanned else piece.after_ms
    start_ms = piece.after_ms
    for end_ms in [*(ms for ms in changes if at_ms < ms < piece.until_ms), piece.until_ms]:
        yield _as_of(piece._replace(after_ms=start_ms, until_ms=end_ms), rules, at_ms)
        start_ms = at_ms = end_ms


def _change_after(rules: Pasts, replanned_ms: int) -> int:
    """When the change was made that a revision came with: not before the instant at which the revision begins."""
    changes = (one.until_ms for of_name in rules.values() for one in of_name)
    return min((ms for ms in changes if replanned_ms <= ms < ENDLESS_MS), default=replanned_ms)


def _as_of(piece: Stretch, rules: Pasts, at_ms: int) -> Stretch:
    return piece._replace(schedule=_schedule_under(piece.schedule, rules, at_ms))


def _schedule_under(schedule: Schedule, rules: Pasts, at_ms: int) -> Schedule:
    names = tuple(
        (name, next(one.kept_as for one in of_name if one.until_ms > at_ms))
        for name, of_name in sorted(rules.items())
    )
    return as_of(schedule, names)
