"""Instants as text: what is written, what is read, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_schemas.clock_text import (
    bound_ms,
    format_instant,
    instant_ms,
    parse_bound,
    parse_instant,
    parse_local,
    parse_slot_run,
    slot_run,
)

NINE = datetime(2026, 9, 21, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (NINE, "2026-09-21T09:00:00.000Z"),
        (NINE.astimezone(timezone(timedelta(hours=2))), "2026-09-21T09:00:00.000Z"),
        (NINE + timedelta(microseconds=1999), "2026-09-21T09:00:00.001Z"),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000_123.9, "2023-11-14T22:13:20.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_instants_are_written_in_utc_with_milliseconds(instant: datetime | float, expected: str) -> None:
    assert expected == format_instant(instant)


def test_a_datetime_without_offset_is_not_written() -> None:
    with pytest.raises(ValueError, match="names no instant"):
        format_instant(NINE.replace(tzinfo=None))


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-21T09:00:00Z",
        "2026-09-21T09:00:00.000Z",
        "2026-09-21t11:00:00+02:00",
        "2026-09-21 09:00:00z",
        "2026-09-20T21:30:00-11:30",
    ],
)
def test_any_offset_is_read(text: str) -> None:
    assert parse_instant(text) == NINE
    assert instant_ms(text) == NINE.timestamp() * 1000


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-21T09:00:00",
        "2026-09-21T09:00Z",
        "2026-09-21",
        "20260921T090000Z",
        "2026-W39-1T09:00:00Z",
        "2026-02-30T09:00:00Z",
        "2026-09-21T24:00:01Z",
        "2026-09-21T09:00:60Z",
        "2026-09-21T09:00:00+0200",
        "2026-09-21T09:00:00+24:00",
        "0001-01-01T00:00:00+23:00",
        "٢٠٢٦-09-21T09:00:00Z",
        "2026-09-21T09:00:00Z\n",
        "now",
        "",
    ],
)
def test_what_names_no_instant_is_refused_with_the_form_that_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"2026-09-21T09:00:00Z"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-09-21T09:00", (2026, 9, 21, 9)),
        ("2026-09-21 09:00:07", (2026, 9, 21, 9, 0, 7)),
        ("2026-09-21T09:00:07.5", (2026, 9, 21, 9, 0, 7, 500_000)),
    ],
)
def test_local_times_are_read_without_offset(text: str, expected: tuple[int, ...]) -> None:
    assert parse_local(text).timetuple()[:6] == (*expected, 0, 0)[:6]
    assert parse_local(text).tzinfo is None


@pytest.mark.parametrize("text", ["2026-09-21T09:00:00Z", "2026-09-21", "2026-13-01T00:00", ""])
def test_local_times_are_refused_in_any_other_form(text: str) -> None:
    with pytest.raises(ValueError, match="local date and time"):
        parse_local(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read_back(moment: datetime) -> None:
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert cut == parse_instant(format_instant(moment))


@given(st.integers(0, 32_503_679_999))
def test_a_slot_and_its_run_name_each_other(nominal: int) -> None:
    moment = datetime.fromtimestamp(nominal, UTC)
    assert slot_run(nominal) == slot_run(moment)
    assert parse_slot_run(slot_run(nominal)) == moment


def test_runs_have_the_form_of_the_contract() -> None:
    assert slot_run(NINE) == "20260921T090000Z"


@pytest.mark.parametrize("run", ["_", "r-20260921T090000Z", "b-x-20260921T090000Z", "20261321T090000Z", ""])
def test_other_runs_are_no_slots(run: str) -> None:
    assert parse_slot_run(run) is None


@pytest.mark.parametrize("moment", [NINE.replace(tzinfo=None), NINE.replace(microsecond=1)])
def test_what_is_no_whole_second_of_a_known_offset_has_no_run(moment: datetime) -> None:
    with pytest.raises(ValueError, match="whole second"):
        slot_run(moment)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ("1969-12-31T23:59:59Z", "1970-01-01T00:00:00.000Z"),
        ("1970-01-01T02:00:01+02:00", "1970-01-01T00:00:01.000Z"),
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999Z"),
        ("2026-09-21T09:00:00.5Z", "2026-09-21T09:00:00.500Z"),
    ],
)
def test_a_bound_lies_where_one_can_reckon(text: str, bound: str) -> None:
    assert format_instant(parse_bound(text)) == format_instant(bound_ms(text)) == bound
