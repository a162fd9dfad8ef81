"""Lists as callers ask for them, down to the statement."""

from __future__ import annotations

import pytest

from gnomon_api.execution_views import EXECUTION_LISTS
from gnomon_api.queries import parse_list
from gnomon_api.readmodels.statements import statement
from gnomon_api.task_views import TASK_LISTS
from gnomon_schemas.problems import Refused


def test_a_list_without_wishes_has_its_defaults() -> None:
    query = parse_list(TASK_LISTS, [])
    assert query.values == ()
    assert query.limit == 50
    assert query.sql.endswith("where deleted_at is null order by created_at desc, task_id desc limit 51")


def test_what_an_item_may_lack_is_at_the_end_of_time() -> None:
    query = parse_list(TASK_LISTS, [("sort", "due_date"), ("limit", "2")])
    assert query.sql.endswith("order by coalesce(due_date, 'infinity'::timestamptz) asc, task_id asc limit 3")


def test_filters_are_numbered_in_the_order_they_came() -> None:
    query = parse_list(TASK_LISTS, [("tag", "a,b"), ("q", "50%")], {"user_id": ["u1"]})
    assert "user_id = $1::text" in query.sql
    assert "&& $2::text[]" in query.sql
    assert "words @@ to_tsquery('simple', $3::text)" in query.sql
    assert query.values == ("u1", ["a", "b"], "'50%':*")


def test_a_few_values_are_a_page_of_each_merged() -> None:
    given = [("status", "paused, running,paused"), ("task_type", "a,b"), ("priority", "high")]
    query = parse_list(TASK_LISTS, given)
    pages, merged, order = query.sql.rpartition(") as merged")
    assert merged
    last = " order by found_at desc, found desc limit 51"
    assert order == f"{last}) as keys on task_id = keys.found{last}"
    begin, _, found = pages.partition(" join (select * from (")
    assert begin == statement("task_columns")
    first, second = found.split(" union all ")
    assert first.startswith("(select task_id as found, created_at as found_at from tasks where")
    assert "task_type = any($1::text[]) and priority = $2::text and status = $3::text" in first
    assert first.replace("$3", "$4") == second
    assert query.values == (["a", "b"], "high", "paused", "running")


def test_keys_are_found_first_where_a_filter_and_an_order_have_no_index_in_common() -> None:
    def found_first(*given: tuple[str, str]) -> bool:
        return " as keys on execution_id = keys.found" in parse_list(EXECUTION_LISTS, given).sql

    assert not found_first(("sort", "-completed_at"))
    assert not found_first(("executor", "e1"), ("sort", "recorded_at"))
    assert found_first(("executor", "e1"), ("sort", "-completed_at"))
    assert found_first(("executor", "e1"), ("status", "failed"))


def test_slots_before_an_instant_are_found_in_three_parts_but_in_their_own_order() -> None:
    before = ("scheduled_before", "2026-09-20T00:00:00Z")
    soon, late, in_flight = parse_list(EXECUTION_LISTS, [before, ("sort", "-started_at")]).sql.split(
        " union all "
    )
    assert statement("executions_ended_soon") in soon
    assert "coalesce(started_at, recorded_at) < " in soon
    assert statement("executions_of_week") in late
    assert " from executions_active where" in in_flight
    assert "union all" not in parse_list(EXECUTION_LISTS, [before, ("sort", "-scheduled_for")]).sql


def test_few_executions_in_an_order_near_the_usual_one_are_looked_for_where_that_begins() -> None:
    def near(*given: tuple[str, str]) -> bool:
        return (
            "from (select recorded_at as at from executions_ended" in parse_list(EXECUTION_LISTS, given).sql
        )

    task, failed, done = ("task_id", "t"), ("status", "failed"), ("status", "completed,failed")
    for order in ("scheduled_for", "-started_at", "completed_at"):
        assert near(task, ("sort", order))
        assert near(failed, ("sort", order))
        assert not near(done, ("sort", order))
        assert not near(("trigger", "schedule"), ("sort", order))
    assert not near(task, ("sort", "-recorded_at"))
    assert not near(("status", "running"), ("sort", "-started_at"))  # none of them has ended


def test_many_values_are_looked_for_together() -> None:
    users = ",".join(f"u{number}" for number in range(9))
    query = parse_list(TASK_LISTS, [("user_id", users)])
    assert "user_id = any($1::text[])" in query.sql
    assert "union" not in query.sql


@pytest.mark.parametrize(
    ("text", "searched"),
    [
        ("report", "'report':*"),
        ("weekly rep", "'weekly':* & 'rep':*"),
        ('"weekly report" mail', "'weekly report' & 'mail':*"),
        ("report -draft", "'report':* & !'draft':*"),
        ('-"not this"', "!'not this'"),
        ("it's a\\b", "'it''s':* & 'a\\\\b':*"),
        ("a & b | !c", "'a':* & '&':* & 'b':* & '|':* & '!c':*"),
    ],
)
def test_a_search_is_all_of_its_words(text: str, searched: str) -> None:
    assert parse_list(TASK_LISTS, [("q", text)]).values == (searched,)


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
        [("limit", "000000001" + "9" * 9)],
        [("status", "asleep")],
        [("status", "")],
        [("status", "paused"), ("status", "running")],
        [("user_id", ",".join("abcdefghij" * 11))],
        [("user_id", "a\x00")],
        [("q", "a\x00")],
        [("q", " ")],
        [("q", "a" * 201)],
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
