"""Named queries: read once, each with a name and a sentence."""

from __future__ import annotations

import re

import pytest

from gnomon_api.readmodels.rows import (
    CommandRow,
    ExecutionRow,
    HistoryRow,
    MarkRow,
    PoolRow,
    SecondEndingRow,
    SpanRow,
    TaskDefinition,
    TaskRow,
)
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


def test_the_writing_statement_names_the_columns_as_the_rows_have_them() -> None:
    """Rows are handed over by position: one column out of place would write values into another's."""
    sql = statement("write_batch")
    task_columns = (*TaskDefinition.__struct_fields__, *TaskRow.__struct_fields__[1:])
    expected = {
        "insert into tasks": task_columns,
        "as s": TaskRow.__struct_fields__,
        "insert into executions": ExecutionRow.__struct_fields__,
        "insert into slot_spans": SpanRow._fields,
        "insert into task_history": HistoryRow._fields,
        "insert into commands": CommandRow._fields,
        "insert into slot_marks": MarkRow._fields,
        "insert into second_endings": SecondEndingRow._fields,
        "insert into pools": PoolRow._fields,
    }
    for place, columns in expected.items():
        match = re.search(rf"{place}\s*\(([^)]*)\)", sql)
        assert match is not None, place
        assert tuple(match[1].replace(",", " ").split()) == columns
    numbers = [int(number) for number in re.findall(r"\$(\d+)", sql)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    for name, kind in (("load_tasks", TaskRow), ("load_executions", ExecutionRow)):
        chosen = statement(name).partition("from ")[0].removeprefix("select ")
        assert tuple(chosen.replace(",", " ").split()) == kind.__struct_fields__
