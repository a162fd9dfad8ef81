"""Named queries: read once, each with a name and a sentence."""

from __future__ import annotations

import pytest

from gnomon_api.readmodels.statements import FOLDER, parse_statements, statement


def test_a_file_is_taken_apart_by_its_names() -> None:
    text = "-- name: one\n-- First.\n-- And more.\nselect 1;\n\n-- name: two\n-- Second.\nselect\n  2;\n"
    found = parse_statements(text, "x.sql")
    assert list(found) == ["one", "two"]
    assert (found["one"].sentence, found["one"].sql) == ("First. And more.", "select 1")
    assert found["two"].sql == "select\n  2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("select 1;", "before the first"),
        ("-- name: a\nselect 1;\n", "needs a sentence"),
        ("-- name: a\n-- Sentence.\n", "needs a sentence and a statement"),
        ("-- name: a\n-- S.\nselect 1;\n-- name: a\n-- S.\nselect 1;\n", "there twice"),
    ],
)
def test_a_file_in_another_form_is_an_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_statements(text, "x.sql")


def test_every_file_of_ours_keeps_the_form() -> None:
    for path in (FOLDER / "queries").glob("*.sql"):
        for one in parse_statements(path.read_text(encoding="utf-8"), path.name).values():
            assert statement(one.name) == one.sql


def test_a_name_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        statement("nothing")
