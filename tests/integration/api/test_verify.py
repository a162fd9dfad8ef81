"""`gnomon verify`: what it says of read models that are right, and of wrong ones; what `--swap` makes of those."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from gnomon_api.readmodels.sections import READ_MODELS
from gnomon_api.verify import main
from tests.integration.api.test_read_models import a_long_story, empty, project


async def _fill(dsn: str, wrong: str | None) -> None:
    connection = await asyncpg.connect(dsn)
    await empty(connection)
    await project(connection, a_long_story())
    if wrong is not None:
        await connection.execute(wrong)
    await connection.close()


@pytest.fixture
def database(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GNOMON_DATABASE_URL", postgres_url)
    return postgres_url


def test_read_models_that_are_what_the_events_make_of_them(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_fill(database, None))
    assert main([]) == 0
    said = capsys.readouterr().out
    assert "DIFFERENT" not in said
    assert said.count("the same") == len(READ_MODELS)


def test_a_row_that_is_wrong_is_told_and_a_swap_makes_it_right(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(_fill(database, "delete from executions where task_id = 'T1'"))
    assert main(["--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["same"] is False
    assert [name for name, table in told["tables"].items() if not table["same"]] == ["executions"]
    assert told["tables"]["executions"]["live"]["rows"] < told["tables"]["executions"]["rebuilt"]["rows"]
    assert main(["--swap"]) == 1
    assert "the rebuilt tables are live now" in capsys.readouterr().out
    assert main([]) == 0


def test_without_a_database_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GNOMON_DATABASE_URL", raising=False)
    assert main([]) == 2
    assert "GNOMON_DATABASE_URL" in capsys.readouterr().err
    monkeypatch.setenv("GNOMON_DATABASE_URL", "postgresql://x:y@127.0.0.1:1/z")
    assert main([]) == 1
    assert "cannot reach" in capsys.readouterr().err
