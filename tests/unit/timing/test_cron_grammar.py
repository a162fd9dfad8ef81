"""The grammar of cron: what is accepted and what it means, what is refused and in which words."""

from __future__ import annotations

import pytest

from gnomon_schemas.cron_grammar import LAST, CronError, CronRule, DayChoice, parse_expression, parse_fields

ALL_MINUTES = tuple(range(60))
ALL_HOURS = tuple(range(24))
ALL_MONTHS = tuple(range(1, 13))
EVERY_DAY = (DayChoice(),)


def _dates(*dates: int, last: bool = False) -> DayChoice:
    return DayChoice(dates=dates, last_date=last)


def _weekdays(*weekdays: int) -> DayChoice:
    return DayChoice(weekdays=weekdays)


def _nth(*nth: tuple[int, int]) -> DayChoice:
    return DayChoice(nth=nth)


@pytest.mark.parametrize(
    ("expression", "seconds", "minutes", "hours", "months"),
    [
        ("* * * * *", (0,), ALL_MINUTES, ALL_HOURS, ALL_MONTHS),
        ("*/20 * * * *", (0,), (0, 20, 40), ALL_HOURS, ALL_MONTHS),
        ("5/20 * * * *", (0,), (5, 25, 45), ALL_HOURS, ALL_MONTHS),
        ("5-30/10 0 * * *", (0,), (5, 15, 25), (0,), ALL_MONTHS),
        ("59,0,30 9-17/4 * * *", (0,), (0, 30, 59), (9, 13, 17), ALL_MONTHS),
        ("007 * * * *", None, None, None, None),
        ("07 08 * * *", (0,), (7,), (8,), ALL_MONTHS),
        ("0 0 * JAN,mar-May *", (0,), (0,), (0,), (1, 3, 4, 5)),
        ("0 0 * */6 *", (0,), (0,), (0,), (1, 7)),
        ("*/15 30 9 * * *", (0, 15, 30, 45), (30,), (9,), ALL_MONTHS),
        ("  0\t 9 * *  * ", (0,), (0,), (9,), ALL_MONTHS),
        ("@hourly", (0,), (0,), ALL_HOURS, ALL_MONTHS),
        ("@Daily", (0,), (0,), (0,), ALL_MONTHS),
        ("@midnight", (0,), (0,), (0,), ALL_MONTHS),
        ("@yearly", (0,), (0,), (0,), (1,)),
        ("@annually", (0,), (0,), (0,), (1,)),
    ],
)
def test_times_and_months(
    expression: str,
    seconds: tuple[int, ...] | None,
    minutes: tuple[int, ...],
    hours: tuple[int, ...],
    months: tuple[int, ...],
) -> None:
    """Lists, ranges, steps, names, six fields with seconds first, aliases."""
    if seconds is None:
        with pytest.raises(CronError):
            parse_expression(expression)
        return
    rule = parse_expression(expression)
    assert (seconds, minutes, hours, months) == (rule.seconds, rule.minutes, rule.hours, rule.months)


@pytest.mark.parametrize(
    ("day_fields", "expected"),
    [
        ("* *", EVERY_DAY),
        ("1,15 *", (_dates(1, 15),)),
        ("L *", (_dates(last=True),)),
        ("1,L *", (_dates(1, last=True),)),
        ("*/10 *", (_dates(1, 11, 21, 31),)),
        ("* 0", (_weekdays(0),)),
        ("* 7", (_weekdays(0),)),
        ("* 5-7", (_weekdays(0, 5, 6),)),
        ("* fri-sun", (_weekdays(0, 5, 6),)),
        ("* sun-tue", (_weekdays(0, 1, 2),)),
        ("* sun-sun", (_weekdays(0),)),
        ("* MON-fri", (_weekdays(1, 2, 3, 4, 5),)),
        ("* */2", (_weekdays(0, 2, 4, 6),)),
        ("* 1/2", (_weekdays(1, 3, 5),)),
        ("* 7/3", (_weekdays(0, 3, 6),)),
        ("* 0-7", EVERY_DAY),
        ("* 5#2", (_nth((5, 2)),)),
        ("* 7#1,fri#5", (_nth((0, 1), (5, 5)),)),
        ("* 5L", (_nth((5, LAST)),)),
        ("* L5", (_nth((5, LAST)),)),
        ("* friL", (_nth((5, LAST)),)),
        ("* 1,5#2", (_weekdays(1), _nth((5, 2)))),
    ],
)
def test_days(day_fields: str, expected: tuple[DayChoice, ...]) -> None:
    """Dates and weekdays; 0 and 7 are Sunday; a week may end on it."""
    day, weekday = day_fields.split()
    assert expected == parse_expression(f"0 0 {day} * {weekday}").days


@pytest.mark.parametrize(
    ("day_fields", "expected"),
    [
        ("13 5", (_dates(13), _weekdays(5))),
        ("1-31 5", (DayChoice(), _weekdays(5))),
        ("13 5#2", (_dates(13), _nth((5, 2)))),
        ("L 1,5#2", (_dates(last=True), _weekdays(1), _nth((5, 2)))),
        ("*/2 5", (DayChoice(dates=tuple(range(1, 32, 2)), weekdays=(5,)),)),
        ("*/2 5#2", (DayChoice(dates=tuple(range(1, 32, 2)), nth=((5, 2),)),)),
        ("13 */2", (DayChoice(dates=(13,), weekdays=(0, 2, 4, 6)),)),
        ("13 *", (_dates(13),)),
    ],
)
def test_two_restricting_day_fields_mean_either_and_a_star_field_does_not_restrict(
    day_fields: str, expected: tuple[DayChoice, ...]
) -> None:
    day, weekday = day_fields.split()
    assert expected == parse_expression(f"0 0 {day} * {weekday}").days


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 * * * *", True),
        ("0 */2 * * *", True),
        ("0 *,3 * * *", True),
        ("@hourly", True),
        ("0 0-23 * * *", False),
        ("* 9 * * *", False),
        ("@daily", False),
    ],
)
def test_only_an_hour_field_that_begins_with_a_star_runs_through(expression: str, expected: bool) -> None:
    assert expected == parse_expression(expression).runs_through


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * * *", "7 fields"),
        ("0 0 * * * 2027", "'2027' in the day-of-week field"),
        ("60 * * * *", "'60' in the minute field: allowed are 0 to 59"),
        ("* 24 * * *", "'24' in the hour field: allowed are 0 to 23"),
        ("* * 0 * *", "'0' in the day-of-month field: allowed are 1 to 31"),
        ("* * 32 * *", "'32' in the day-of-month field"),
        ("* * * 13 *", "'13' in the month field: allowed are 1 to 12 or jan to dec"),
        ("* * * 0 *", "'0' in the month field"),
        ("* * * * 8", "'8' in the day-of-week field: allowed are 0 to 7 or sun to sat"),
        ("60 * * * * *", "'60' in the second field"),
        ("*/0 * * * *", "a step is 1 to 59"),
        ("*/60 * * * *", "a step is 1 to 59"),
        ("30-10 * * * *", "runs backwards"),
        ("0 22-2 * * *", "runs backwards"),
        ("0 0 * * fri-mon", "runs backwards"),
        ("0 0 * nov-feb *", "runs backwards"),
        ("R * * * *", "'r' in the minute field"),
        ("R(0-30) * * * *", "in the minute field"),
        ("H H * * *", "'h' in the hour field"),
        ("0 0 15W * *", "'15w' in the day-of-month field"),
        ("0 0 LW * *", "'lw' in the day-of-month field"),
        ("0 0 L-3 * *", "'l-3' in the day-of-month field"),
        ("0 0 ? * *", r"'\?' in the day-of-month field"),
        ("0 0 * * ?", r"'\?' in the day-of-week field"),
        ("0 0 * * L", "'l' in the day-of-week field"),
        ("0 0 * * 5#0", "after # allowed are 1 to 5"),
        ("0 0 * * 5#6", "after # allowed are 1 to 5"),
        ("0 0 * * 8#1", "'8#1' in the day-of-week field"),
        ("0 0 * * foo#1", "'foo#1' in the day-of-week field"),
        ("0 0 * * monday", "'monday' in the day-of-week field"),
        ("0 0 * mon *", "'mon' in the month field"),
        ("jan * * * *", "'jan' in the minute field"),
        ("1,,2 * * * *", "'' in the minute field"),
        ("1, * * * *", "'' in the minute field"),
        ("1- * * * *", "'1-' in the minute field"),
        ("-1 * * * *", "'-1' in the minute field"),
        ("1-2-3 * * * *", "'1-2-3' in the minute field"),
        ("1.5 * * * *", "'1.5' in the minute field"),
        ("** * * * *", r"'\*\*' in the minute field"),
        ("*-5 * * * *", r"'\*-5' in the minute field"),
        ("١ * * * *", "'١' in the minute field"),
        ("0 0 * * *\n", r"in the day-of-week field"),
        ("0\u00a00 * * *", "4 fields"),
        ("@reboot", "is no alias; allowed are @yearly"),
        ("@every 5m", "is no alias"),
        ("@", "is no alias"),
        ("0 0 31 2 *", "can never fire"),
        ("0 0 30 2 *", "can never fire"),
        ("0 0 31 4,6,9,11 *", "can never fire"),
        ("0 0 */31 2 1#2", "can never fire"),
        ("0 " * 300, "allowed are 512"),
    ],
)
def test_everything_else_is_refused_in_words(expression: str, named: str) -> None:
    with pytest.raises(CronError, match=named):
        parse_expression(expression)


@pytest.mark.parametrize(
    "expression", ["0 0 29 2 *", "0 0 * 2 1#5", "0 0 29 2 1#1", "0 0 30 2 mon", "0 0 L 2 *"]
)
def test_what_fires_in_some_year_is_accepted(expression: str) -> None:
    assert parse_expression(expression).days


def test_all_faults_of_an_expression_are_told() -> None:
    with pytest.raises(CronError) as refused:
        parse_expression("61 25 0 x 9")
    assert [field for field, _ in refused.value.faults] == [None] * 5
    for field, (_, message) in zip(
        ("minute", "hour", "day-of-month", "month", "day-of-week"), refused.value.faults, strict=True
    ):
        assert f"in the {field} field" in message


@pytest.mark.parametrize(
    ("fields", "seconds", "minutes", "hours", "months", "days"),
    [
        ({"hour": 9}, (0,), (0,), (9,), ALL_MONTHS, EVERY_DAY),
        ({"minute": "*/30"}, (0,), (0, 30), ALL_HOURS, ALL_MONTHS, EVERY_DAY),
        ({"second": 7}, (7,), ALL_MINUTES, ALL_HOURS, ALL_MONTHS, EVERY_DAY),
        ({"month": 6}, (0,), (0,), (0,), (6,), (_dates(1),)),
        ({"day": 3}, (0,), (0,), (0,), ALL_MONTHS, (_dates(3),)),
        ({"day_of_week": 0}, (0,), (0,), (0,), ALL_MONTHS, (_weekdays(1),)),
        ({"day_of_week": 6, "hour": 5}, (0,), (0,), (5,), ALL_MONTHS, (_weekdays(0),)),
        ({"day_of_week": "mon-fri"}, (0,), (0,), (0,), ALL_MONTHS, (_weekdays(1, 2, 3, 4, 5),)),
        ({"day_of_week": "fri-sun"}, (0,), (0,), (0,), ALL_MONTHS, (_weekdays(0, 5, 6),)),
        ({"day": "last"}, (0,), (0,), (0,), ALL_MONTHS, (_dates(last=True),)),
        ({"day": "2nd tue,last fri"}, (0,), (0,), (0,), ALL_MONTHS, (_nth((2, 2), (5, LAST)),)),
        ({"day": "1,1st mon"}, (0,), (0,), (0,), ALL_MONTHS, (_dates(1), _nth((1, 1)))),
        ({"month": "jan", "day": 2, "hour": 3, "minute": 4}, (0,), (4,), (3,), (1,), (_dates(2),)),
        (
            {"day": 13, "day_of_week": 4},
            (0,),
            (0,),
            (0,),
            ALL_MONTHS,
            (DayChoice(dates=(13,), weekdays=(5,)),),
        ),
    ],
)
def test_by_fields_as_apscheduler_spells_and_defaults_them(
    fields: dict[str, int | str],
    seconds: tuple[int, ...],
    minutes: tuple[int, ...],
    hours: tuple[int, ...],
    months: tuple[int, ...],
    days: tuple[DayChoice, ...],
) -> None:
    """0 is Monday, what is finer than the finest field is least, and both day fields must match."""
    rule = parse_fields(fields)
    assert rule == CronRule(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        months=months,
        days=days,
        runs_through=len(hours) == 24,
    )


@pytest.mark.parametrize(
    ("fields", "field", "named"),
    [
        ({"hour": 24}, "hour", "'24' in the hour field: allowed are 0 to 23"),
        ({"minute": -1}, "minute", "'-1' in the minute field"),
        ({"day_of_week": 7}, "day_of_week", "allowed are 0 to 6 or mon to sun"),
        ({"day_of_week": "5#2"}, "day_of_week", "'5#2' in the day_of_week field"),
        ({"day": "L"}, "day", "'l' in the day field"),
        ({"day": "6th fri"}, "day", "last, 2nd fri, last fri"),
        ({"day": "last foo"}, "day", "'last foo' in the day-of-week field"),
        ({"day": 31, "month": "feb"}, "day", "can never fire"),
        ({"day": "1st mon", "day_of_week": "tue"}, "day", "can never fire"),
        ({"second": "@daily"}, "second", "'@daily' in the second field"),
    ],
)
def test_faults_of_fields_name_their_field(fields: dict[str, int | str], field: str, named: str) -> None:
    with pytest.raises(CronError) as refused:
        parse_fields(fields)
    assert [field] == [name for name, _ in refused.value.faults]
    assert named in refused.value.faults[0][1]
