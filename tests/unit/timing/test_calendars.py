"""Slots under another calendar: real changes of rules, and made ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from gnomon_core.timing import (
    KeptNames,
    as_of,
    calendars,
    count_fires,
    difference,
    fires,
    keep,
    names_of,
    next_fire,
    own_rules,
    same_rules,
    text_of,
)
from gnomon_core.timing.zone_clock import ZoneClock
from gnomon_schemas.codec import encode
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.schedules import (
    AnyOf,
    Cron,
    Daily,
    Dst,
    GapChoice,
    Interval,
    Monthly,
    Once,
    OverlapChoice,
    Schedule,
    Weekly,
)
from tests.harness.zone_rules import Change, made_rules

HOUR, DAY = 3600, 86_400


def instant(text: str) -> int:
    """Seconds since 1970 of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def kept(zone: str, rules: bytes) -> KeptNames:
    """Other rules for one zone."""
    return ((f"zone-{zone}", keep(f"zone-{zone}", rules)),)


def cron(expression: str, zone: str = "Asia/Beirut", **more: Any) -> Cron:
    """A cron in stored form."""
    return Cron(expression=expression, timezone=zone, **more)


# As the wheel had them before the news came, in the words of `TZ`.
MEXICO_BEFORE_2022 = made_rules("CST6CDT,M4.1.0,M10.5.0")
LEBANON_MARCH_2023 = made_rules(
    "EET-2EEST,M3.5.0/0,M10.5.0/0",
    first=2 * HOUR,
    changes=(
        Change(instant("2022-10-29T21:00"), 2 * HOUR),
        # On 23 March 2023 the start of summer time was put off to 21 April, and four days later that was revoked.
        Change(instant("2023-04-20T22:00"), 3 * HOUR, True),
        Change(instant("2023-10-28T21:00"), 2 * HOUR),
    ),
)
BEIRUT_WITHOUT_SUMMER = made_rules("EET-2")
BEIRUT_AT_HALF_PAST = made_rules("<+0230>-2:30")


def test_a_kept_zone_is_that_zone() -> None:
    name = keep("zone-Europe/Berlin", own_rules("zone-Europe/Berlin", 2026))
    assert name.startswith("Europe/Berlin@")
    assert keep("zone-Europe/Berlin", own_rules("zone-Europe/Berlin", 2026)) == name
    mine, other = ZoneClock("Europe/Berlin"), ZoneClock(name)
    for at in range(0, 70 * 366 * DAY, 5 * DAY):
        assert mine.piece_at(at) == other.piece_at(at)


def test_rules_say_what_a_clock_shows() -> None:
    clock = ZoneClock(keep("zone-Asia/Beirut", LEBANON_MARCH_2023))
    at = instant("2023-04-01T00:00")
    assert clock.wall_at(at) == at + 2 * HOUR
    assert ZoneClock("Asia/Beirut").wall_at(at) == at + 3 * HOUR


@pytest.mark.parametrize("rules", [b"", b"TZif", b"nothing of the kind", b"TZif2" + bytes(10)])
def test_bytes_that_are_no_rules_are_refused(rules: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        keep("zone-Asia/Beirut", rules)


@pytest.mark.parametrize("name", ["zone-Nowhere/Atall", "Europe/Berlin", "zone-", "moon-full"])
def test_a_name_of_nothing_has_no_rules(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        own_rules(name, 2026)


@pytest.mark.parametrize(
    ("schedule", "names"),
    [
        (cron("0 9 * * *"), {"zone-Asia/Beirut"}),
        (Daily(time="09:00", timezone="UTC"), {"zone-UTC"}),
        (Weekly(time="09:00", days=("mon",), timezone="Asia/Tokyo"), {"zone-Asia/Tokyo"}),
        (Monthly(time="09:00", day=1, timezone="Asia/Tokyo"), {"zone-Asia/Tokyo"}),
        (Interval(every_seconds=60, anchor="2026-01-01T00:00:00Z", timezone="Asia/Tokyo"), set()),
        (
            Interval(every_seconds=60, anchor="2026-01-01T00:00:00Z", timezone="Asia/Tokyo", dst=Dst()),
            {"zone-Asia/Tokyo"},
        ),
        (Once(at="2026-01-01T00:00:00Z", timezone="Asia/Tokyo"), set()),
        (
            Interval(
                every_seconds=60,
                anchor="2026-01-01T00:00:00Z",
                timezone="Asia/Tokyo",
                exclude=("sun", ExcludedDays(holidays="JP")),
            ),
            {"zone-Asia/Tokyo", "holidays-JP"},
        ),
        (
            AnyOf(schedules=(cron("0 9 * * *"), Daily(time="09:00", timezone="UTC")), timezone="Asia/Tokyo"),
            {"zone-Asia/Beirut", "zone-UTC"},
        ),
    ],
)
def test_what_a_schedule_depends_on(schedule: Schedule, names: set[str]) -> None:
    assert names_of(schedule) == names


def test_mexico_gives_summer_time_up() -> None:
    """A wheel of before October 2022 against the present one: from April 2023 on the clock differs."""
    rules = kept("America/Mexico_City", MEXICO_BEFORE_2022)
    at = instant("2022-10-31T00:00")
    found = difference(cron("0 9 * * *", "America/Mexico_City"), rules, at, at)
    assert found is not None
    # Summer time would have begun on 2 April: nine o'clock was to be at 14:00 UTC, and is at 15:00.
    assert found.first == instant("2023-04-02T14:00")
    assert found.old_next == found.new_next == instant("2022-10-31T15:00")
    # 2 April to 28 October; 400 days end on 5 December.
    assert (found.appeared, found.disappeared) == (210, 210)
    assert found == difference(cron("0 9 * * *", "America/Mexico_City"), rules, at, at)


def test_lebanon_puts_summer_time_off_for_four_days() -> None:
    rules = kept("Asia/Beirut", LEBANON_MARCH_2023)
    at = instant("2023-03-25T12:00")
    found = difference(cron("0 9 * * *"), rules, at, at)
    assert found is not None
    assert found.old_next == instant("2023-03-26T07:00")
    assert found.new_next == found.first == instant("2023-03-26T06:00")
    assert (found.appeared, found.disappeared) == (26, 26)
    # From Friday, 21 April on both show the same.
    assert difference(cron("0 9 * * *"), rules, instant("2023-04-21T12:00"), at) is None
    # Nine o'clock in winter is nine o'clock in winter.
    assert difference(cron("0 9 1 1 *"), rules, at, at) is None
    # And the schedule as it was can be asked anything.
    before = as_of(cron("0 9 * * *"), rules)
    assert next_fire(before, at) == instant("2023-03-26T07:00")
    assert count_fires(before, at, at + 30 * DAY) == count_fires(cron("0 9 * * *"), at, at + 30 * DAY)


NOW = instant("2026-11-22T12:00")


@pytest.mark.parametrize(
    ("expression", "moves"),
    [
        ("*/5 * * * *", False),
        ("* * * * *", False),
        ("7,37 * * * *", False),
        ("*/10 * * * * *", False),
        ("0 */2 * * *", True),
        ("*/5 * * * 1-5", True),
        ("*/5 * 1 * *", True),
        ("0 0 * * *", True),
        ("0 9 1 1 *", False),
        ("0 9 15 6 *", True),
        ("* 8-18 * * *", True),
    ],
)
def test_an_hour_less_moves_what_names_hours_or_days(expression: str, moves: bool) -> None:
    found = difference(cron(expression), kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER), NOW, NOW)
    assert (found is not None) is moves


@pytest.mark.parametrize(
    ("expression", "moves"),
    [
        ("*/5 * * * *", False),
        ("*/30 * * * *", False),
        ("*/20 * * * *", True),
        ("0 * * * *", True),
        ("15,45 * * * *", False),
    ],
)
def test_half_an_hour_moves_what_does_not_repeat_in_it(expression: str, moves: bool) -> None:
    found = difference(cron(expression), kept("Asia/Beirut", BEIRUT_AT_HALF_PAST), NOW, NOW)
    assert (found is not None) is moves


def test_by_the_clock_even_what_is_every_hour_is_touched_where_the_clock_is_put_back() -> None:
    rules = kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER)
    once = cron("*/5 * * * *", dst=Dst(gap="next_valid", overlap="first"))
    found = difference(once, rules, NOW, NOW)
    assert found is not None
    # Under the kept rules, which know no summer, nothing is left out when the hour comes twice.
    assert found.first == next_fire(as_of(once, rules), instant("2027-10-30T20:59:59"))


@pytest.mark.parametrize("gap", ["next_valid", "skip", "shift"])
@pytest.mark.parametrize("overlap", ["first", "last", "both"])
def test_what_is_told_is_what_differs(gap: GapChoice, overlap: OverlapChoice) -> None:
    """Against slot by slot, without any short cut."""
    rules = kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER)
    year = NOW + 400 * DAY
    for expression in ("30 0 * * *", "*/20 * * * *", "0 23 * * 6", "15 0-3 * 3,10 *"):
        schedule = cron(expression, dst=Dst(gap=gap, overlap=overlap))
        old, new = set(fires(as_of(schedule, rules), NOW, year)), set(fires(schedule, NOW, year))
        found = difference(schedule, rules, NOW, NOW)
        if old == new:
            assert found is None or (found.first or 0) > year
            continue
        assert found is not None
        assert found.first == min(old ^ new)
        if len(old ^ new) < calendars.COUNTED_MAX:
            assert (found.appeared, found.disappeared) == (len(new - old), len(old - new))
        assert (found.old_next, found.new_next) == (min(old), min(new))


def test_a_union_moves_when_a_part_of_it_does() -> None:
    rules = kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER)
    tokyo = Daily(time="09:00", timezone="Asia/Tokyo")
    assert difference(AnyOf(schedules=(tokyo, cron("*/5 * * * *"))), rules, NOW, NOW) is None
    assert difference(AnyOf(schedules=(tokyo, cron("0 9 * * *"))), rules, NOW, NOW) is not None
    # Every hour of the day has its slot already, whichever of them is nine o'clock.
    assert difference(AnyOf(schedules=(cron("0 * * * *"), cron("0 9 * * *"))), rules, NOW, NOW) is None


def test_an_interval_by_the_clock_counts_from_where_its_anchor_was() -> None:
    def every(anchor: str) -> Interval:
        return Interval(every_seconds=DAY, anchor=anchor, timezone="Asia/Beirut", dst=Dst())

    rules = kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER)
    winter = difference(every("2026-01-01T09:00:00Z"), rules, NOW, NOW)
    assert winter is not None
    assert winter.first is not None
    assert winter.first > instant("2027-03-01T00:00")
    summer = difference(every("2026-07-01T09:00:00Z"), rules, NOW, NOW)
    assert summer is not None
    assert summer.first == instant("2026-11-23T09:00")
    assert difference(Interval(every_seconds=DAY, anchor="2026-07-01T09:00:00Z"), rules, NOW, NOW) is None


def test_what_cannot_be_walked_is_taken_as_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "WALKED_MAX", 1000)
    rules = kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER)
    union = AnyOf(schedules=(cron("* * * * *"), cron("0 9 * * *")), timezone="UTC")
    difference.cache_clear()
    found = difference(union, rules, NOW, NOW)
    difference.cache_clear()
    assert found is not None
    assert found.first is None
    assert (found.appeared, found.disappeared) == (0, 0)


def test_the_last_slot_may_be_gone() -> None:
    rules = kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER)
    schedule = cron("0 9 * * *", end_at="2027-07-01T06:30:00Z")
    at = instant("2027-07-01T00:00")
    found = difference(schedule, rules, at, at)
    # Nine o'clock in summer is at 06:00, inside the bounds; without summer it was at 07:00.
    assert found is not None
    assert (found.old_next, found.new_next) == (None, instant("2027-07-01T06:00"))
    assert (found.appeared, found.disappeared) == (1, 0)


def test_other_rules_that_show_the_same_move_nothing() -> None:
    same = made_rules("CET-1CEST,M3.5.0,M10.5.0/3")
    assert same != own_rules("zone-Europe/Berlin", 2026)
    assert difference(cron("0 9 * * *", "Europe/Berlin"), kept("Europe/Berlin", same), NOW, NOW) is None


def holidays_without(place: str, *dates: str) -> KeptNames:
    """The holidays of a place, as a release had them that did not know some dates."""
    known = msgspec.json.decode(own_rules(f"holidays-{place}", 2026), type=dict[str, list[int]])
    gone = {instant(date) // DAY for date in dates}
    rules = {year: [day for day in days if day not in gone] for year, days in known.items()}
    return ((f"holidays-{place}", keep(f"holidays-{place}", msgspec.json.encode(rules))),)


def working_days(**more: Any) -> Daily:
    """Nine o'clock in Berlin, but on holidays."""
    return Daily(time="09:00", timezone="Europe/Berlin", exclude=(ExcludedDays(holidays="DE"),), **more)


def test_a_new_holiday_takes_its_slot_away() -> None:
    # Labour Day of 2027, as if it had been made a holiday only now.
    rules = holidays_without("DE", "2027-05-01")
    found = difference(working_days(), rules, NOW, NOW)
    assert found is not None
    assert found.first == instant("2027-05-01T07:00")
    assert (found.appeared, found.disappeared) == (0, 1)
    before = as_of(working_days(), rules)
    year = NOW + 400 * DAY
    assert set(fires(before, NOW, year)) - set(fires(working_days(), NOW, year)) == {found.first}
    # What does not exclude the holidays of Germany is not asked.
    assert difference(Daily(time="09:00", timezone="Europe/Berlin"), rules, NOW, NOW) is None
    assert difference(working_days(end_at="2027-04-30T00:00:00Z"), rules, NOW, NOW) is None


def test_holidays_and_zone_may_change_together() -> None:
    excluding = cron("0 9 * * *", exclude=(ExcludedDays(holidays="LB"),))
    rules = (*holidays_without("LB", "2027-05-01"), *kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER))
    found = difference(excluding, rules, NOW, NOW)
    assert found is not None
    year = NOW + 400 * DAY
    old, new = set(fires(as_of(excluding, rules), NOW, year)), set(fires(excluding, NOW, year))
    assert found.first == min(old ^ new)
    assert (found.appeared, found.disappeared) == (len(new - old), len(old - new))


def test_a_date_moves_with_the_clock_even_where_no_time_is_named() -> None:
    """An interval runs in real time; what is excluded of it is by dates."""
    hourly = Interval(
        every_seconds=HOUR, anchor="2026-01-01T00:00:00Z", timezone="Asia/Beirut", exclude=("sun",)
    )
    found = difference(hourly, kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER), NOW, NOW)
    assert found is not None
    # In summer the first Monday begins at 21:00 UTC; without summer it was Sunday for an hour more.
    assert found.first == instant("2027-03-28T21:00")
    union = AnyOf(
        schedules=(Interval(every_seconds=HOUR, anchor="2026-01-01T00:00:00Z"),), timezone="Asia/Beirut"
    )
    assert difference(union, kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER), NOW, NOW) is None
    off = msgspec.structs.replace(union, exclude=("sun",))
    assert difference(off, kept("Asia/Beirut", BEIRUT_WITHOUT_SUMMER), NOW, NOW) == found


def test_years_that_only_one_release_speaks_of_are_no_difference() -> None:
    ten, twelve = own_rules("holidays-DE", 2026), own_rules("holidays-DE", 2028)
    assert ten != twelve
    assert same_rules("holidays-DE", ten, twelve)
    both = own_rules("holidays-DE", 2028, ten)
    years = sorted(map(int, msgspec.json.decode(both)))
    assert (years[0], years[-1]) == (2025, 2039)
    assert not same_rules("holidays-DE", ten, own_rules("holidays-FR", 2026))
    assert difference(working_days(), (("holidays-DE", keep("holidays-DE", ten)),), NOW, NOW) is None


@pytest.mark.parametrize("rules", [b"", b"[]", b'{"2026": "none"}', b'{"x": [1]}'])
def test_what_is_no_list_of_holidays_is_refused(rules: bytes) -> None:
    with pytest.raises(ValueError, match="no rules"):
        keep("holidays-DE", rules)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("zone-Asia/Beirut", cron("0 9 * * *")),
        ("holidays-DE", working_days()),
        ("zone-Europe/Berlin", working_days()),
    ],
)
def test_who_depends_on_a_part_is_found_by_its_text(name: str, schedule: Schedule) -> None:
    assert name in names_of(schedule)
    assert text_of(name).encode() in encode(schedule)
    assert text_of("zone-Asia/Tokyo").encode() not in encode(schedule)
