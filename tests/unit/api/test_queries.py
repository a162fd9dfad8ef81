"""Lists as callers ask for them, down to the statement."""

from __future__ import annotations

import pytest

from gnomon_api.queries import parse_list
from gnomon_api.task_views import TASK_LISTS
from gnomon_schemas.problems import Refused


def test_a_list_without_wishes_has_its_defaults() -> None:
    query = parse_list(TASK_LISTS, [])
    assert query.values == ()
    assert query.limit == 50
    assert query.sql.endswith(
        "where deleted_at is null order by coalesce(created_at, 'infinity'::timestamptz) desc, task_id desc limit 51"
    )


def test_filters_are_numbered_in_the_order_they_came() -> None:
    query = parse_list(TASK_LISTS, [("status", "paused, running"), ("q", "50%")], {"user_id": ["u1"]})
    assert "user_id = any($1::text[])" in query.sql
    assert "status = any($2::text[])" in query.sql
    assert "(name ilike $3 or description ilike $3)" in query.sql
    assert query.values == (["u1"], ["paused", "running"], "%50\\%%")


def test_metadata_is_looked_for_as_text_and_as_the_scalar_that_the_text_spells() -> None:
    query = parse_list(TASK_LISTS, [("metadata.a", "5,x,true,-1.5")])
    assert query.values == (
        [
            '{"a": "5"}',
            '{"a": 5}',
            '{"a": "x"}',
            '{"a": "true"}',
            '{"a": true}',
            '{"a": "-1.5"}',
            '{"a": -1.5}',
        ],
    )


@pytest.mark.parametrize(
    "params",
    [
        [("limit", "0")],
        [("limit", "501")],
        [("limit", "١")],
        [("limit", "9" * 400)],
        [("status", "asleep")],
        [("status", "")],
        [("status", "paused"), ("status", "running")],
        [("user_id", ",".join("abcdefghij" * 11))],
        [("user_id", "a\x00")],
        [("q", "a\x00")],
        [("metadata.", "x")],
        [("created_after", "2026-01-01")],
        [("cursor", "x")],
        [("cursor", "WyItY3JlYXRlZF9hdCIsInNvb24iLCJ4Il0")],  # of the right sort, with a time that is none
        [("sort", "--name")],
        [("nothing", "1")],
    ],
)
def test_what_is_not_known_is_refused(params: list[tuple[str, str]]) -> None:
    with pytest.raises(Refused) as caught:
        parse_list(TASK_LISTS, params)
    assert caught.value.problem.status == 422
    assert len(caught.value.problem.errors) == 1


def test_a_plus_in_an_instant_may_arrive_as_a_space() -> None:
    query = parse_list(TASK_LISTS, [("created_after", "2026-01-01T00:00:00 02:00")])
    assert query.values[0].isoformat() == "2025-12-31T22:00:00+00:00"
