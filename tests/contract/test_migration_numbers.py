"""The numbers of the migrations: a database goes from one to the next, so none may be missing or there twice."""

from __future__ import annotations

from gnomon_api.readmodels.migrate import migrations


def test_every_migration_has_a_number_of_its_own_and_none_is_left_out() -> None:
    assert [one.version for one in migrations()] == list(range(1, len(migrations()) + 1))
