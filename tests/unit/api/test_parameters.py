"""Parameters of a query string: numbers within their bounds, and everything that is wrong told at once."""

from __future__ import annotations

import pytest

from gnomon_api.parameters import SEQUENCE_MAX, Parameters, two_numbers, whole_number
from gnomon_schemas.problems import Code, Refused


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("500", 500),
        ("007", 7),
        ("0", None),
        ("501", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        (" 1", None),
        ("٣", None),
        # Zeros in front must not hide how large a number is, nor may its length cost anything.
        ("0000000000000000001" + "9" * 9, None),
        ("000000001999999", None),
        ("9" * 5000, None),
    ],
)
def test_a_number_is_taken_only_within_its_bounds(text: str, number: int | None) -> None:
    assert whole_number(text, 1, 500) == number


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("17-2", (17, 2)),
        ("999999999999999999-999999999", (999999999999999999, 999999999)),
        ("17", None),
        ("17-", None),
        ("17-1234567890", None),  # more than an integer column holds
        ("17-2-3", None),
        ("17-٢", None),
    ],
)
def test_a_place_is_two_numbers_that_postgres_holds(text: str, place: tuple[int, int] | None) -> None:
    assert two_numbers(text) == place


def test_everything_that_is_wrong_is_told_at_once() -> None:
    given = [("limit", "000000001999999"), ("cursor", "x"), ("limit", "2"), ("user", "a\x00b"), ("lmit", "3")]
    params = Parameters(given, "limit", "cursor", "user", "since")
    assert params.number("limit", 1, 500) is None
    assert params.cursor() is None
    assert params.text("user") is None
    with pytest.raises(Refused) as refused:
        params.refuse()
    assert refused.value.problem.code == Code.INVALID
    assert [(error.pointer, error.code) for error in refused.value.problem.errors] == [
        ("#/limit", Code.INVALID),
        ("#/user", Code.INVALID),
        ("#/lmit", Code.UNKNOWN_FIELD),
        ("#/limit", Code.INVALID),
        ("#/cursor", Code.INVALID),
    ]


def test_what_is_right_is_read_and_what_is_left_out_is_none() -> None:
    given = [("limit", "20"), ("cursor", str(SEQUENCE_MAX)), ("since", "1970-01-01T01:00:01 01:00")]
    params = Parameters(given, "limit", "cursor", "since", "until")
    params.refuse()
    assert (params.number("limit", 1, 500), params.cursor()) == (20, SEQUENCE_MAX)
    assert (params.instant_ms("since"), params.instant_ms("until")) == (1000, None)
