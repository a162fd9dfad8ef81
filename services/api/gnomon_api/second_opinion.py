"""A second opinion on cron: slots as cronsim reckons them, which shares no code with croniter or with us.

An audit by this engine takes the expected slots of every cron schedule, and of every cron in an `any_of`, from cronsim.
What is on no such schedule stays with Gnomon's own arithmetic, and is told as `unchecked`.

The two mean different things by a few forms, and around changes of a zone's clock (`docs/explanation/time.md` lists
them all). Forms are *translated*: cronsim is asked in words that mean to it what they mean here. Around a change of the
clock its answer differs by rule: such a difference is *explained*, named in the report, and Gnomon's slot stands. It
is explained only within a day of a change, and only by one of the reasons below, each of which is checked and not
assumed. Any other difference is *disputed*: cronsim's answer stands, so that what it has more is missing, and what it
has less is misplaced.

Bounds and excluded days are no part of cron: what lies outside them is taken from both alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec
from cronsim import CronSim, CronSimError

from gnomon_core.ledger import Stretch
from gnomon_core.timing import fires, next_fire
from gnomon_core.timing.kept_zones import zone_named
from gnomon_core.timing.zone_clock import ZoneClock
from gnomon_schemas.cron_grammar import ALIASES, FIELD_NAMES, DayChoice, field_defaults
from gnomon_schemas.schedules import AnyOf, Cron, Dst, Interval, Schedule, cron_rule

__all__ = ["Difference", "SecondOpinion", "Why", "cronsim_slots", "translated"]

_DAY: Final = 86_400
_REAL_TIME: Final = Dst(gap="skip", overlap="both")
_OVERLAP_MAX: Final = 3 * 3600
_DIFFERENCES_MAX: Final = 1000
_ITEM: Final = re.compile(r"(?P<first>\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?", re.ASCII)
_LAST_WEEKDAY: Final = re.compile(r"(?P<before>\d|[a-z]{3})l|l(?P<after>\d)", re.ASCII)
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class Why(StrEnum):
    """Why cronsim names other slots."""

    REAL_TIME = "real_time"
    """A rule that names hours goes by the clock here. cronsim goes by real time if the minutes begin with `*` or there
    are seconds."""
    PASSED_BY = "passed_by"
    """Around a change by half an hour, or one at midnight, cronsim passes by times that its own fields match."""
    MIDNIGHT_GAP = "midnight_gap"
    """Where a clock skips midnight, cronsim answers with that date's first instant, which its fields do not match."""
    DST_CHOICE = "dst_choice"
    """The schedule says by `dst` what becomes of such times; cronsim has no such choice."""
    DISPUTED = "disputed"
    """Nothing explains it: one of the two reckons wrongly."""


class Difference(NamedTuple):
    """A slot that only one of the two names."""

    task_id: str
    revision: int
    nominal_s: int
    ours: bool
    """Gnomon names it and cronsim does not; False: the other way round."""
    why: Why


class _Answer(NamedTuple):
    """What a schedule has in a span by both."""

    slots: set[int]
    """To be expected: cronsim's where it was asked, but for what is explained."""
    by_cron: set[int]
    """Those of them that both name."""
    differences: dict[int, tuple[bool, Why]]
    """By slot: whether it is ours, and why it is not in both."""

    def where(self, keeps: Callable[[int], bool]) -> _Answer:
        """What is left of it."""
        return _Answer(
            {slot for slot in self.slots if keeps(slot)},
            {slot for slot in self.by_cron if keeps(slot)},
            {slot: what for slot, what in self.differences.items() if keeps(slot)},
        )


@dataclass(slots=True)
class SecondOpinion:
    """What cronsim was asked in one audit, and where it differed."""

    checked: int = 0
    """Slots on which both agree."""
    unchecked: int = 0
    """Expected slots of schedules that are no cron: by Gnomon's arithmetic alone."""
    differences: list[Difference] = field(default_factory=list)
    """The first thousand."""
    explained_count: int = 0
    disputed_count: int = 0

    def slots(self, task_id: str, piece: Stretch, since_s: int, until_s: int) -> Iterator[int]:
        """The slots of a stretch in [since_s, until_s) as the audit is to expect them, in order."""
        after_s, last_s = piece.bounds(since_s, until_s)
        if last_s <= after_s:
            return iter(())
        answer = _answer(piece.schedule, after_s, last_s)
        self.checked += len(answer.by_cron)
        self.unchecked += len(answer.slots - answer.by_cron - answer.differences.keys())
        for slot, (ours, why) in sorted(answer.differences.items()):
            self._note(Difference(task_id, piece.revision, slot, ours, why))
        return iter(sorted(answer.slots))

    def _note(self, found: Difference) -> None:
        if found.why is Why.DISPUTED:
            self.disputed_count += 1
        else:
            self.explained_count += 1
        if len(self.differences) < _DIFFERENCES_MAX:
            self.differences.append(found)


def cronsim_slots(cron: Cron, after_s: int, last_s: int) -> set[int]:
    """The instants in (after_s, last_s] at which cronsim fires a cron, whatever its bounds and excluded days.

    Raises ValueError for one that cronsim does not take even when translated.
    """
    if cron.expression is not None:
        return _asked(translated(cron.expression), _zone(cron), after_s, last_s)
    fields = field_defaults({name: getattr(cron, name) for name in FIELD_NAMES})
    names = ("minute", "hour") if fields["second"] == "0" else ("second", "minute", "hour")
    clock = " ".join(_each(fields[name], _one_value) for name in names)
    month = _each(fields["month"], _one_value)
    found = set[int]()
    for choice in cron_rule(cron).days:
        # By single fields both must match; of an expression of two restricting day fields cronsim takes either.
        of_dates, of_weekdays = _day_fields(choice)
        found |= _asked(f"{clock} {of_dates} {month} *", _zone(cron), after_s, last_s) & _asked(
            f"{clock} * {month} {of_weekdays}", _zone(cron), after_s, last_s
        )
    return found


def translated(expression: str) -> str:
    """An expression in words that mean to cronsim what it means here."""
    text = expression.lower()
    *others, weekday = ALIASES.get(text, text).split()
    fields = [_each(each, _one_value) for each in others]
    return " ".join([*fields, _each(_each(weekday, _one_value), _weekday_item)])


def _each(field_text: str, change: Callable[[str], str]) -> str:
    return ",".join(change(item) for item in field_text.split(","))


def _one_value(item: str) -> str:
    """`4-4/2` is 4; cronsim goes on to the field's end."""
    match = _ITEM.fullmatch(item)
    return match["first"] if match and match["last"] == match["first"] else item


def _weekday_item(item: str) -> str:
    """Without what cronsim counts or spells otherwise: `3/2`, `fri-sun`, `l5`, `fril`."""
    if (last := _LAST_WEEKDAY.fullmatch(item)) is not None:
        return f"{_weekday(last['before'] or last['after'])}L"
    match = _ITEM.fullmatch(item)
    if match is None:
        return item
    first = _weekday(match["first"])
    if match["last"] is None:
        if match["step"] is None:
            return item
        return ",".join(map(str, range(first % 7, 7, int(match["step"]))))
    end = 7 if match["last"] == "sun" and first > 0 else _weekday(match["last"])
    return f"{first}-{end}" + (f"/{match['step']}" if match["step"] else "")


def _weekday(text: str) -> int:
    return int(text) if text.isdigit() else _WEEKDAYS.index(text)


def _day_fields(choice: DayChoice) -> tuple[str, str]:
    """Day of month and day of week of a choice in which both must match."""
    dates = [*map(str, choice.dates), *(["L"] if choice.last_date else [])]
    weekdays = [f"{day}L" if which < 0 else f"{day}#{which}" for day, which in choice.nth]
    return ",".join(dates), ",".join(weekdays or map(str, choice.weekdays))


def _asked(expression: str, zone_name: str, after_s: int, last_s: int) -> set[int]:
    zone = UTC if zone_name == "UTC" else zone_named(zone_name)
    found = set[int]()
    start_s, beyond_s = after_s, last_s
    if zone is not UTC:
        # Asked in an hour that is shown twice, cronsim may answer with what is over: it is asked from before that
        # hour on. Nor do its answers only rise there.
        changes = list(_changes(zone_name, after_s - _DAY, after_s))
        start_s = changes[0].at - _DAY if changes else after_s
        beyond_s = last_s + _OVERLAP_MAX
    try:
        for at in CronSim(expression, datetime.fromtimestamp(start_s, zone)):
            slot = int(at.timestamp())
            if slot > beyond_s:
                break
            if after_s < slot <= last_s:
                found.add(slot)
    except CronSimError as error:
        raise ValueError(f"cronsim does not take {expression!r}: {error}") from error
    return found


def _answer(schedule: Schedule, after_s: int, last_s: int) -> _Answer:
    if isinstance(schedule, Cron):
        found = _of_cron(schedule, after_s, last_s)
    elif isinstance(schedule, AnyOf):
        found = _of_union(schedule, after_s, last_s)
    else:
        return _Answer(set(fires(schedule, after_s, last_s)), set(), {})
    return found.where(_within(schedule))


def _of_union(schedule: AnyOf, after_s: int, last_s: int) -> _Answer:
    parts = [_answer(part, after_s, last_s) for part in schedule.schedules]
    slots = set[int]().union(*(part.slots for part in parts))
    by_cron = set[int]().union(*(part.by_cron for part in parts))
    differences = {
        slot: what
        for part in parts
        for slot, what in part.differences.items()
        # Where another part names the slot for certain, it is one, whatever is said of this part.
        if not any(slot in other.slots and slot not in other.differences for other in parts)
    }
    return _Answer(slots, by_cron, differences)


def _of_cron(cron: Cron, after_s: int, last_s: int) -> _Answer:
    plain = msgspec.structs.replace(cron, exclude=None, start_at=None, end_at=None)
    ours = set(fires(plain, after_s, last_s))
    theirs = cronsim_slots(plain, after_s, last_s)
    told = {slot: (slot in ours, _why(plain, slot, slot in ours)) for slot in ours ^ theirs}
    explained = {slot for slot, (is_ours, why) in told.items() if is_ours and why is not Why.DISPUTED}
    disputed = {slot for slot, (is_ours, why) in told.items() if not is_ours and why is Why.DISPUTED}
    both = ours & theirs
    return _Answer(both | explained | disputed, both, told)


def _within(schedule: Schedule) -> Callable[[int], bool]:
    """Whether an instant lies within a schedule's bounds, and on no day that it excludes."""
    # A slot each second, so that nothing but these decides.
    mask = Interval(
        every_seconds=1,
        anchor="1970-01-01T00:00:00.000Z",
        timezone=schedule.timezone,
        start_at=schedule.start_at,
        end_at=schedule.end_at,
        exclude=schedule.exclude,
    )
    if mask.start_at is None and mask.end_at is None and mask.exclude is None:
        return lambda slot: True
    return lambda slot: next_fire(mask, slot - 1) == slot


def _why(cron: Cron, slot: int, ours: bool) -> Why:
    """What explains that only one of the two names a slot."""
    zone = _zone(cron)
    changes = list(_changes(zone, slot - _DAY, slot + _DAY))
    if not changes:
        return Why.DISPUTED
    by_real_time = _fires_at(cron, slot, _REAL_TIME)
    if cron.dst is not None:
        chosen = by_real_time != ours or _fires_at(cron, slot, Dst()) != ours
        return Why.DST_CHOICE if chosen else Why.DISPUTED
    if by_real_time != ours:
        return Why.REAL_TIME
    matches = _matches(cron, slot, zone)
    if not ours and not matches and any(slot == change.at and change.jump > 0 for change in changes):
        return Why.MIDNIGHT_GAP
    return Why.PASSED_BY if ours and matches and any(change.odd for change in changes) else Why.DISPUTED


def _fires_at(cron: Cron, slot: int, dst: Dst) -> bool:
    """Whether an instant would be a slot of it under another choice."""
    return next_fire(msgspec.structs.replace(cron, dst=dst), slot - 1) == slot


class _Change(NamedTuple):
    at: int
    jump: int
    odd: bool
    """By no whole hour, or to or from midnight."""


def _changes(zone_name: str, from_s: int, until_s: int) -> Iterator[_Change]:
    """The changes of a zone's clock in a span."""
    clock = ZoneClock(zone_name)
    piece = clock.piece_at(from_s)
    while piece.end <= until_s:
        before, piece = piece, clock.piece_at(piece.end)
        jump = piece.offset - before.offset
        if jump:
            walls = {(piece.start + each.offset) % _DAY for each in (before, piece)}
            yield _Change(piece.start, jump, bool(jump % 3600) or 0 in walls)


def _matches(cron: Cron, slot: int, zone_name: str) -> bool:
    """Whether an instant is a match by the rule's fields, whatever becomes of it around a change of the clock."""
    wall = ZoneClock(zone_name).wall_at(slot)
    # By a clock that never changes, the rule's slots are the wall times that its fields name.
    return next_fire(msgspec.structs.replace(cron, timezone="UTC", dst=None), wall - 1) == wall


def _zone(cron: Cron) -> str:
    assert cron.timezone is not None  # stored schedules name it
    return cron.timezone
