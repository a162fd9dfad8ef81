"""Laws that hold for every schedule in every zone, and a second opinion on every cron."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gnomon_core.timing import (
    LAST_INSTANT,
    count_fires,
    describe,
    fires,
    last_fire,
    next_fire,
    note_of,
    timetable,
)
from gnomon_core.timing.month_days import MonthDays
from gnomon_core.timing.timeline import make_timeline
from gnomon_core.timing.zone_clock import ZoneClock
from gnomon_schemas.cron_grammar import CronError, parse_expression
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.schedules import (
    Cron,
    Dst,
    Schedule,
    ScheduleError,
    ScheduleFault,
    normalise,
    shape_faults,
)
from tests.property.timing_strategies import (
    SpelledCron,
    excludes,
    instants,
    is_accepted,
    is_excluded,
    plain_instants,
    policies,
    schedules,
    spelled_crons,
    zones,
)

# Reckons for a while, and for longer where other workers do too.
pytestmark = pytest.mark.timeout(180)

DAY = 86_400
NOW = datetime(2026, 3, 1, tzinfo=UTC)

# Building a zone's year takes its millisecond in whichever example comes first, so no example has a deadline.
settings.register_profile("timing", deadline=None)
laws = settings.get_profile("timing")


def _accepted(expression: str) -> bool:
    try:
        parse_expression(expression)
    except CronError:
        return False
    return True


def _by_looking_at_the_clock(
    cron: SpelledCron, zone: str, after: int, until: int, dst: Dst | None = None
) -> set[int]:
    """The fires in (after, until], by looking at the clock every minute of these and two more days."""
    default = Dst(gap="skip", overlap="both") if cron.runs_through else Dst()
    choice = dst or default
    here = ZoneClock(zone)
    shown: dict[int, list[int]] = {}
    minutes = range(after // 60 * 60 - 3 * DAY, until + 3 * DAY, 60)
    for instant in minutes:
        shown.setdefault(here.wall_at(instant), []).append(instant)
    walls = range(min(shown), max(shown) + 60, 60)
    found: set[int] = set()
    for wall in walls:
        if not cron.names(datetime.fromtimestamp(wall, UTC).replace(tzinfo=None)):
            continue
        if wall in shown:
            found.update(
                {"first": shown[wall][:1], "last": shown[wall][-1:], "both": shown[wall]}[choice.overlap]
            )
        elif choice.gap == "next_valid":
            found.add(shown[next(later for later in range(wall, walls.stop, 60) if later in shown)][0])
        elif choice.gap == "shift":
            before = next(earlier for earlier in range(wall, walls.start, -60) if earlier in shown)
            found.add(shown[before][-1] + wall - before)
    return {fire for fire in found if after < fire <= until}


@settings(laws, max_examples=200)
@given(st.data(), spelled_crons(), zones, policies)
def test_a_cron_fires_when_the_clock_shows_its_times(
    data: st.DataObject, cron: SpelledCron, zone: str, dst: Dst | None
) -> None:
    """Under each policy, and by default."""
    assume(_accepted(cron.expression))
    after = data.draw(instants(zone))
    until = after + data.draw(st.integers(0, 2 * DAY))
    here = ZoneClock(zone)
    # Liberia was 44 minutes and 30 seconds behind until 1972; looking every minute would not see its times.
    assume(all(here.piece_at(at).offset % 60 == 0 for at in (after - 3 * DAY, after, until, until + 3 * DAY)))
    expected = sorted(_by_looking_at_the_clock(cron, zone, after, until, dst))
    schedule = Cron(expression=cron.expression, timezone=zone, dst=dst)
    assert expected == list(fires(schedule, after, until))


@settings(laws, max_examples=150)
@given(spelled_crons(), st.integers(0, 60_000))
def test_the_days_of_a_cron_are_those_it_was_spelled_from(cron: SpelledCron, first: int) -> None:
    """Over more than a year, forwards and backwards; and what is refused for never firing never would."""
    span = range(first, first + 400)
    expected = [day for day in span if cron.is_day(date(1970, 1, 1) + timedelta(days=day))]
    if not _accepted(cron.expression):
        assert not expected
        return
    rule = parse_expression(cron.expression)
    days = MonthDays(rule.months, rule.days)
    forwards, backwards = [], []
    day = days.next(span[0])
    while day is not None and day in span:
        forwards.append(day)
        day = days.next(day + 1)
    day = days.prev(span[-1])
    while day is not None and day in span:
        backwards.append(day)
        day = days.prev(day - 1)
    assert expected == forwards == backwards[::-1]
    assert len(expected) == days.count(span[0], span[-1] + 1)


@settings(laws, max_examples=150)
@given(st.data(), schedules())
def test_cutting_a_span_in_two_gives_the_same_fires(data: st.DataObject, schedule: Schedule) -> None:
    """And counting them gives their number, also for a span that is too long to walk in parts."""
    assume(is_accepted(schedule))
    first = data.draw(instants(schedule.timezone or "UTC"))
    middle = first + data.draw(st.integers(0, 3 * DAY))
    last = middle + data.draw(st.integers(0, 3 * DAY))
    whole = list(fires(schedule, first, last))
    assert whole == [*fires(schedule, first, middle), *fires(schedule, middle, last)]
    assert whole == sorted(set(whole))
    assert len(whole) == count_fires(schedule, first, last)
    later = last + 500 * DAY
    assert count_fires(schedule, first, later) == len(whole) + count_fires(schedule, last, later)


@settings(laws, max_examples=200)
@given(st.data(), schedules(), excludes)
def test_excluding_days_takes_their_slots_and_nothing_else(
    data: st.DataObject, schedule: Schedule, exclude: tuple[str | ExcludedDays, ...] | None
) -> None:
    """Against the same schedule without, and a look at the date of each of its slots on the zone's clock."""
    assume(is_accepted(schedule))
    zone = schedule.timezone or "UTC"
    first = data.draw(instants(zone))
    last = first + data.draw(st.integers(0, 20 * DAY))
    everything = fires(msgspec.structs.replace(schedule, exclude=None), first, last)
    clock = ZoneInfo(zone)
    left = [
        slot for slot in everything if not is_excluded(exclude, datetime.fromtimestamp(slot, clock).date())
    ]
    limited = msgspec.structs.replace(schedule, exclude=exclude)
    assert left == list(fires(limited, first, last))
    assert len(left) == count_fires(limited, first, last)
    backwards: list[int] = []
    slot = last_fire(limited, last)
    while slot is not None and slot > first and len(backwards) < 100:
        backwards.append(slot)
        slot = last_fire(limited, slot - 1)
    assert backwards == left[::-1][: len(backwards)]
    assert len(backwards) == min(len(left), 100)


@settings(laws, max_examples=300)
@given(st.data(), schedules())
def test_next_and_last_meet(data: st.DataObject, schedule: Schedule) -> None:
    """Next is in the future and in bounds, last is not; between the two there is nothing."""
    assume(is_accepted(schedule))
    at = data.draw(instants(schedule.timezone or "UTC"))
    coming, gone = next_fire(schedule, at), last_fire(schedule, at)
    bounds = (timetable(schedule).next(-1), timetable(schedule).last(LAST_INSTANT))
    if coming is not None:
        assert coming > at
        assert last_fire(schedule, coming) == coming
        assert last_fire(schedule, coming - 1) == gone
        assert bounds[0] is not None
        assert bounds[1] is not None
        assert bounds[0] <= coming <= bounds[1]
        assert next(fires(schedule, at, coming)) == coming
    else:
        assert bounds[1] == gone
    if gone is not None:
        assert gone <= at
        assert next_fire(schedule, gone) == coming
        assert next_fire(schedule, gone - 1) == gone


@settings(laws, max_examples=100)
@given(st.data(), schedules().filter(lambda schedule: isinstance(schedule, Cron)))
def test_answers_do_not_depend_on_what_was_asked_before(data: st.DataObject, schedule: Cron) -> None:
    """A timeline that remembers answers as one that was made for this question."""
    assume(_accepted(schedule.expression or ""))
    rule = parse_expression(schedule.expression or "")
    used = make_timeline(rule, schedule.timezone or "UTC")
    start = data.draw(instants(schedule.timezone or "UTC"))
    for step in data.draw(st.lists(st.integers(-4000, 4000), min_size=2, max_size=30)):
        at = max(start + step * 30, 0)
        assert used.next(at) == make_timeline(rule, schedule.timezone or "UTC").next(at)


@settings(laws, max_examples=200)
@given(schedules(), plain_instants)
def test_every_slot_can_be_told_in_words(schedule: Schedule, at: int) -> None:
    assume(is_accepted(schedule))
    assert describe(schedule)
    coming = next_fire(schedule, at)
    assert coming is None or note_of(schedule, coming) in (None, "dst_gap", "dst_overlap")


@settings(laws, max_examples=200)
@given(schedules())
def test_the_stored_form_is_its_own_stored_form(schedule: Schedule) -> None:
    """Also after it has been JSON, and whatever the default zone and the time are by then."""
    try:
        stored = normalise(schedule, created_at=NOW, default_timezone="Asia/Tokyo", now=None)
    except ScheduleError:
        assume(False)
    again = msgspec.json.decode(msgspec.json.encode(stored))
    assert stored == normalise(again, created_at=NOW + timedelta(days=9), default_timezone="UTC", now=None)
    assert list(islice(fires(stored, 0, LAST_INSTANT), 5)) == list(
        islice(fires(schedule, 0, LAST_INSTANT), 5)
    )


@settings(laws, max_examples=500)
@given(st.text("0123456789*/-,#Llw?@ \tmonfrijaedycRH()\n\u00a0٣", max_size=40))
@example("0 0 29 2 1#5")
@example("* * * * *")
def test_any_text_is_refused_in_words_or_fires(text: str) -> None:
    """The grammar raises nothing but CronError, and takes nothing that croniter could not step."""
    refused: list[str] = []
    try:
        parse_expression(text)
    except CronError as error:
        refused = [str(error)]
    else:
        assert next_fire(Cron(expression=text, timezone="UTC"), 0) is not None
    assert all(0 < len(words) < 4000 for words in refused)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [
        "timezone",
        "start_at",
        "end_at",
        "jitter_seconds",
        "expression",
        "hour",
        "every_seconds",
        "days",
        "at",
        "schedules",
        "exclude",
        "max_runs",
        "x/~",
    ]
)


@settings(laws, max_examples=500)
@given(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["cron", "interval", "once", "daily", "weekly", "monthly", "any_of"])
            | json_values
        }
    ).flatmap(
        lambda fixed: st.dictionaries(names, json_values | st.just("UTC"), max_size=4).map(
            lambda more: fixed | more
        )
    )
    | json_values
)
def test_any_value_is_stored_or_refused_with_pointers(value: object) -> None:
    """Whatever is sent: nothing but ScheduleError comes of it, and each fault has a code and words."""
    faults: tuple[ScheduleFault, ...] | None = None
    try:
        normalise(value, created_at=NOW, default_timezone="UTC", now=NOW)  # type: ignore[arg-type]  # anything is tried
    except ScheduleError as error:
        faults = error.faults
    if faults is None:
        assert shape_faults(value) == ()
        return
    assert faults
    for fault in faults:
        assert fault.pointer == "" or fault.pointer.startswith("/")
        assert fault.code
        assert 0 < len(fault.message) < 1000


def test_the_second_opinion_can_disagree() -> None:
    """The oracle above is worth something: a cron that is a minute off does not pass it."""
    cron = SpelledCron("31 2 * * *", frozenset({30}), frozenset({2}), lambda _: True, runs_through=False)
    start = int(datetime(2026, 3, 30, tzinfo=UTC).timestamp())
    expected = _by_looking_at_the_clock(cron, "Europe/Berlin", start, start + DAY)
    found = list(fires(Cron(expression=cron.expression, timezone="Europe/Berlin"), start, start + DAY))
    assert expected == {start + 1800}
    assert found == [start + 1860]


@pytest.mark.parametrize("zone", ["Africa/Monrovia", "Pacific/Kwajalein", "Pacific/Apia", "Asia/Manila"])
def test_zones_that_skipped_days_or_seconds_keep_the_law(zone: str) -> None:
    """Cut the years around each odd change at every hour: nothing is lost, nothing doubled."""
    daily = Cron(expression="15,45 0,9,23 * * *", timezone=zone)
    clock = ZoneClock(zone)
    piece = clock.piece_at(0)
    while piece.end < 1_400_000_000:
        piece = clock.piece_at(piece.end)
        if not piece.gap and not piece.overlap:
            continue
        first, last = piece.start - 2 * DAY, piece.start + 2 * DAY
        whole = list(fires(daily, first, last))
        assert len(whole) == count_fires(daily, first, last)
        for cut in range(first, last, 3600):
            assert whole == [*fires(daily, first, cut), *fires(daily, cut, last)]
            assert last_fire(daily, cut) == max(
                (fire for fire in whole if fire <= cut), default=last_fire(daily, first)
            )
