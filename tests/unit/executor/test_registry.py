"""Finding task types and telling of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gnomon import task_type
from gnomon.task_types import task_type_of
from gnomon_executor.registry import Registry, TypesNotLoaded, load_types


def test_built_in_types_are_always_there() -> None:
    registry = Registry(load_types([], installed=False), "1.0")
    assert registry.names == ("echo", "http_request", "sleep")
    assert registry.pools == ("default",)


def test_an_announcement_says_what_a_scheduler_needs() -> None:
    registry = Registry(load_types([], installed=False), "1.0")
    told = {entry.name: entry for entry in registry.announcements()}
    schema = msgspec.json.decode(told["sleep"].config_schema)
    assert schema["$defs"]["SleepConfig"]["required"] == ["seconds"]
    assert msgspec.json.decode(told["echo"].config_schema) == {"type": "object"}
    assert (told["sleep"].isolation, told["sleep"].pool, told["sleep"].version) == ("loop", "default", "1.0")
    assert told["http_request"].description


def test_a_module_beside_the_caller_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--tasks MODULE` finds what lies in the working directory."""
    (tmp_path / "my_own_tasks.py").write_text(
        "from gnomon import task_type\n\n@task_type('mine')\ndef mine(config):\n    return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "mine" in Registry(load_types(["my_own_tasks"], installed=False), "1").names


@pytest.mark.parametrize("module", ["no_such_module_anywhere", "json"])
def test_a_module_that_is_missing_or_empty_is_named(module: str) -> None:
    with pytest.raises(TypesNotLoaded, match=module):
        load_types([module], installed=False)


def test_two_types_of_one_name_are_refused_with_both_places() -> None:
    @task_type("twin")
    def first(config: dict[str, Any]) -> None: ...

    @task_type("twin")
    def second(config: dict[str, Any]) -> None: ...

    types = [task_type_of(first), task_type_of(second)]
    with pytest.raises(TypesNotLoaded, match=r"first.*second"):
        Registry([found for found in types if found is not None], "1")


def test_a_config_without_json_form_is_refused_by_name() -> None:
    class Plain:
        pass

    def handler(config: Any) -> None: ...

    handler.__annotations__["config"] = Plain
    found = task_type_of(task_type("plain")(handler))
    assert found is not None
    with pytest.raises(TypesNotLoaded, match="plain"):
        Registry([found], "1")
