"""cronsim as a second opinion: the same slots, differences that are explained, and one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import pytest

from gnomon_api import second_opinion
from gnomon_api.second_opinion import SecondOpinion, Why, translated
from gnomon_core.ledger import ENDLESS_MS, State, Stretch
from gnomon_core.timing import fires, next_fire
from gnomon_schemas.cron_grammar import CronError
from gnomon_schemas.schedules import AnyOf, Cron, Daily, Dst, Schedule, normalise
from tests.unit.timing.cron_cases import cases

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def asked(schedule: Schedule, since: str, until: str) -> tuple[list[int], SecondOpinion]:
    """The slots to expect in a span, and the opinion."""
    stored = normalise(schedule, created_at=_BEGIN, default_timezone="UTC", now=None)
    opinion = SecondOpinion()
    piece = Stretch(0, ENDLESS_MS, State.ACTIVE, 3, stored)
    return list(opinion.slots("t", piece, at(since), at(until))), opinion


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("0 4-4/2 * * *", "0 4 * * *"),
        ("0 4 * * 3/2", "0 4 * * 3,5"),
        ("0 4 * * 7/2", "0 4 * * 0,2,4,6"),
        ("0 4 * * fri-sun", "0 4 * * 5-7"),
        ("0 4 * * L5", "0 4 * * 5L"),
        ("0 4 * * fril,mon#2", "0 4 * * 5L,mon#2"),
        ("@daily", "0 0 * * *"),
        ("*/5 9-17 L * MON-FRI/2", "*/5 9-17 l * 1-5/2"),
    ],
)
def test_forms_that_mean_something_else_to_cronsim_are_translated(said: str, meant: str) -> None:
    assert translated(said) == meant


def test_no_difference_of_many_expressions_is_left_unexplained() -> None:
    count = 0
    for case in cases(seed=20_261_123, count=700):
        cron = Cron(expression=case.expression, timezone=case.zone)
        try:
            first = next_fire(cron, case.after)
        except CronError:
            continue
        assert first is not None
        last = max(first, min(case.after + 86_400, first + 3 * 3600))
        opinion = SecondOpinion()
        piece = Stretch(0, ENDLESS_MS, State.ACTIVE, 1, cron)
        expected = list(opinion.slots("t", piece, case.after + 1, last + 1))
        assert opinion.disputed_count == 0, (case, opinion.differences[:3])
        assert expected == list(fires(cron, case.after, last)), case
        count += opinion.checked
    assert count > 20_000


@pytest.mark.parametrize(
    ("cron", "since", "until", "why", "ours"),
    [
        (
            Cron(expression="*/15 2 * * *", timezone="Europe/Berlin"),
            "2026-03-29T00:00:00Z",
            "2026-03-30T00:00:00Z",
            Why.REAL_TIME,
            [True],
        ),
        (
            Cron(expression="30 2 * * *", timezone="Europe/Berlin", dst=Dst(gap="skip", overlap="last")),
            "2026-03-28T00:00:00Z",
            "2026-03-30T00:00:00Z",
            Why.DST_CHOICE,
            [False],
        ),
        (
            Cron(expression="* */16 * * 0", timezone="America/Havana"),
            "2000-04-01T22:00:00Z",
            "2000-04-02T06:00:00Z",
            Why.MIDNIGHT_GAP,
            [False],
        ),
        (
            Cron(expression="* 3 * * *", timezone="Australia/Lord_Howe"),
            "2007-03-24T16:30:00Z",
            "2007-03-24T16:32:00Z",
            Why.PASSED_BY,
            [True, True],
        ),
    ],
)
def test_what_differs_around_a_change_of_the_clock_is_named_and_our_slots_stand(
    cron: Cron, since: str, until: str, why: Why, ours: list[bool]
) -> None:
    expected, opinion = asked(cron, since, until)
    assert [(one.why, one.ours) for one in opinion.differences] == [(why, each) for each in ours]
    stored = normalise(cron, created_at=_BEGIN, default_timezone="UTC", now=None)
    assert expected == list(fires(stored, at(since) - 1, at(until) - 1))
    assert opinion.explained_count == len(ours)


def test_a_wrong_slot_of_ours_is_disputed_and_cronsims_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(schedule: Schedule, after: int, until: int) -> Iterator[int]:
        """A minute late, once."""
        right = iter(fires(schedule, after, until))
        yield from (slot + 60 for slot in islice(right, 1))
        yield from right

    monkeypatch.setattr(second_opinion, "fires", wrong)
    expected, opinion = asked(Cron(expression="*/10 * * * *"), "2026-05-01T00:00:00Z", "2026-05-01T00:40:00Z")
    assert expected == [at(f"2026-05-01T00:{minute}:00Z") for minute in ("00", "10", "20", "30")]
    found = [(one.nominal_s, one.ours, one.why) for one in opinion.differences]
    assert found == [
        (at("2026-05-01T00:00:00Z"), False, Why.DISPUTED),
        (at("2026-05-01T00:01:00Z"), True, Why.DISPUTED),
    ]
    assert (opinion.disputed_count, opinion.checked) == (2, 3)


def test_bounds_and_excluded_days_hold_for_both() -> None:
    cron = Cron(
        expression="0 */6 * * *",
        start_at="2026-05-01T06:00:00Z",
        end_at="2026-05-04T12:00:00Z",
        exclude=("2026-05-02", "sun"),
    )
    expected, opinion = asked(cron, "2026-04-30T00:00:00Z", "2026-05-06T00:00:00Z")
    hours = ["01T06", "01T12", "01T18", "04T00", "04T06"]
    assert expected == [at(f"2026-05-{hour}:00:00Z") for hour in hours]
    assert (opinion.checked, opinion.differences) == (5, [])


def test_of_a_union_every_cron_is_asked_and_the_rest_is_counted_as_unchecked() -> None:
    union = AnyOf(
        schedules=(
            Cron(expression="0 * * * *"),
            Daily(time="03:30"),
            # Named by single fields, of which both days must match.
            Cron(hour=5, minute=15, day="1-10", day_of_week="fri"),
        )
    )
    expected, opinion = asked(union, "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z")
    assert len(expected) == 24 + 1 + 1
    assert (opinion.checked, opinion.unchecked, opinion.differences) == (25, 1, [])


def test_single_fields_with_ordinal_days() -> None:
    cron = Cron(hour=9, day="2nd fri,last")
    expected, opinion = asked(cron, "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z")
    assert expected == [at("2026-05-08T09:00:00Z"), at("2026-05-31T09:00:00Z")]
    assert (opinion.checked, opinion.differences) == (2, [])
