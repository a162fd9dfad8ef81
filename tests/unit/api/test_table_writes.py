"""Statements made from columns: what each mode says, and that every section's columns are the schema's."""

from __future__ import annotations

import pytest

from gnomon_api.readmodels.sections import READ_MODELS, all_sections
from gnomon_api.readmodels.table import Mode, TableWrite, batch_sql, by_columns

WRITES = [write for section in all_sections() for write in section.writes]
POOLS = ("pool", "paused", "version")


@pytest.mark.parametrize("write", WRITES, ids=lambda write: f"{write.table}-{write.mode.value}")
def test_columns_and_keys_are_those_of_the_schema(write: TableWrite) -> None:
    assert len(write.types()) == len(set(write.columns)) == len(write.columns)
    assert set(write.key) | write.fixed <= set(write.columns)
    assert bool(write.key) == (write.mode is not Mode.APPEND)


def test_a_column_that_the_schema_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError, match="colour"):
        TableWrite("pools", ("pool", "colour")).types()


@pytest.mark.parametrize(
    ("mode", "fixed", "ending"),
    [
        (Mode.FIRST, (), "on conflict (pool) do nothing"),
        (
            Mode.REPLACE,
            (),
            "on conflict (pool) do update set paused = excluded.paused, version = excluded.version",
        ),
        (Mode.REPLACE, ("paused",), "on conflict (pool) do update set version = excluded.version"),
        (Mode.ADD, ("paused",), "on conflict (pool) do update set version = t.version + excluded.version"),
        (Mode.UPDATE, ("paused",), "from s as s (pool, paused, version) where t.pool = s.pool"),
    ],
)
def test_what_becomes_of_a_row_that_is_there(mode: Mode, fixed: tuple[str, ...], ending: str) -> None:
    sql = TableWrite("pools", POOLS, mode, ("pool",), frozenset(fixed)).merge_sql("s")
    assert sql.endswith(ending)


def test_a_batch_takes_its_parameters_in_order_and_does_nothing_where_the_position_has_moved() -> None:
    append = TableWrite("pools", POOLS)
    replace = TableWrite("pools", POOLS[:2], Mode.REPLACE, ("pool",))
    sql = batch_sql((append, replace))
    assert "unnest($5::text[], $6::boolean[], $7::integer[])" in sql
    assert "unnest($8::text[], $9::boolean[])" in sql
    assert sql.count("where exists (select from moved)") == 2


def test_rows_become_columns() -> None:
    assert by_columns([("a", 1), ("b", 2)]) == [("a", "b"), (1, 2)]


def test_the_tables_to_compare_are_each_there_once() -> None:
    assert len(READ_MODELS) == len(set(READ_MODELS))
    assert {"tasks", "executions", "slot_marks", "pools"} <= set(READ_MODELS)
