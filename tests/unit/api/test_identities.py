"""Ids that the api makes, and users as they come in."""

from __future__ import annotations

import uuid

import pytest

from gnomon_api.http_io import checked_id, execution_parts
from gnomon_api.idempotency import derived_id, new_id
from gnomon_api.identity import caller_of
from gnomon_schemas.limits import is_id
from gnomon_schemas.problems import Refused


def test_fresh_ids_are_uuids_of_version_7() -> None:
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(is_id(one) and uuid.UUID(one).version == 7 for one in made)
    assert all(uuid.UUID(one).variant == uuid.RFC_4122 for one in made)
    assert [one[:13] for one in made] == sorted(one[:13] for one in made)


def test_derived_ids_do_not_run_into_each_other() -> None:
    assert derived_id("a", "bc") == derived_id("a", "bc")
    assert (
        len({derived_id("a", "bc"), derived_id("ab", "c"), derived_id("abc"), derived_id("a", "b", "c")}) == 4
    )
    assert is_id(derived_id("Zoë", "POST /x", "🔑"))


def test_a_request_without_user_is_the_local_user_and_everybody_is_an_admin() -> None:
    assert caller_of(None).user_id == "local"
    assert caller_of("eve").admin


def test_a_user_in_utf_8_is_understood() -> None:
    assert caller_of("Zoë".encode().decode("latin-1")).user_id == "Zoë"


@pytest.mark.parametrize("text", ["", " ", "a\tb", " a", "a" * 256, "a\x7f", "\u202eevil"])
def test_a_user_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        caller_of(text)


@pytest.mark.parametrize(
    "text", ["a.b", "*", ">", "a b", "x" * 65, "analytics", "bulk", "_x", "", "a\n", "é"]
)
def test_hostile_ids_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        checked_id(text)


@pytest.mark.parametrize(
    "text", ["T", "T.", ".r", "a.b.c", "T.*", "T.>", "T.r 1", "_.r", "T.r\n", "T." + "r" * 200]
)
def test_execution_ids_are_a_task_and_a_run(text: str) -> None:
    with pytest.raises(Refused):
        execution_parts(text)
    assert execution_parts("T-1.r-0190abc") == ("T-1", "r-0190abc")
    assert execution_parts("T.20261121T090000Z") == ("T", "20261121T090000Z")
