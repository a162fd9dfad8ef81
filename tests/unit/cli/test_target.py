"""How a command finds the Gnomon it speaks to, and what it says when it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gnomon_cli.errors import CliError, UsageError
from gnomon_cli.target import find_target
from gnomon_cli.up.data_folder import take_folder
from gnomon_cli.up.run_file import RunFile, RunFileError, read_run_file, remove_run_file, write_run_file

_RUNNING = RunFile(
    pid=1,
    started_at="2026-09-21T09:00:00.000Z",
    url="http://127.0.0.1:8099",
    nats_url="nats://127.0.0.1:4222",
    database_url="postgresql://x",
)


def test_the_flag_goes_before_the_variable_and_that_before_the_run_file(tmp_path: Path) -> None:
    write_run_file(tmp_path, _RUNNING)
    environ = {"GNOMON_URL": "http://other:1/", "GNOMON_TOKEN": "secret"}
    assert find_target("http://flag:2", None, environ)[:2] == ("http://flag:2", "secret")
    assert find_target(None, None, environ)[:2] == ("http://other:1", "secret")
    assert find_target(None, tmp_path, environ).url == "http://127.0.0.1:8099"
    assert find_target(None, tmp_path, {}).source == str(tmp_path / "run.json")


def test_without_any_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(CliError) as refused:
        find_target(None, tmp_path, {})
    assert "no Gnomon is known here" in refused.value.message
    assert "gnomon up" in refused.value.hint


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://", "nonsense"])
def test_an_address_that_is_none_is_named_with_its_source(url: str) -> None:
    with pytest.raises(UsageError, match="GNOMON_URL is"):
        find_target(None, None, {"GNOMON_URL": url})


def test_a_run_file_is_read_as_written_by_its_owner_only_and_removed(tmp_path: Path) -> None:
    write_run_file(tmp_path, _RUNNING)
    assert read_run_file(tmp_path) == _RUNNING
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == 0o600
    remove_run_file(tmp_path)
    remove_run_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_run_file(tmp_path)


def test_a_run_file_of_somebody_else_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunFileError, match=r"run\.json is not what `gnomon up` writes"):
        read_run_file(tmp_path)


def test_a_folder_is_one_gnomon_s_at_a_time_and_free_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with take_folder(folder) as taken:
        write_run_file(taken, _RUNNING)
        with pytest.raises(CliError) as refused, take_folder(folder):
            pass
        assert (
            f"already runs on {folder} (process {os.getpid()}, http://127.0.0.1:8099)"
            in refused.value.message
        )
    with take_folder(folder):
        pass


def test_a_folder_that_cannot_be_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError) as refused, take_folder(tmp_path / "file"):
        pass
    assert "cannot keep data in" in refused.value.message
    assert "--data" in refused.value.hint
