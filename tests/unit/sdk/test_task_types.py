"""Declaring task types."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon import Context, task_type
from gnomon.task_types import DEFAULT_TIMEOUT_SECONDS, TaskType, task_type_of


class Config(msgspec.Struct):
    """A config."""

    amount: int


def declared(handler: Any) -> TaskType:
    found = task_type_of(handler)
    assert found is not None
    return found


async def test_the_function_stays_a_function() -> None:
    @task_type("double", pool="sums", timeout_seconds=5)
    async def double(config: Config, ctx: Context) -> int:
        """Double an amount."""
        return config.amount * 2

    assert await double(Config(4), None) == 8  # type: ignore[arg-type]  # the handler does not look at it
    found = declared(double)
    assert (found.name, found.pool, found.timeout_seconds, found.isolation) == ("double", "sums", 5, "loop")
    assert (found.takes_context, found.is_coroutine, found.config_type) == (True, True, Config)
    assert found.description == "Double an amount."
    assert found.config_schema()["$defs"]["Config"]["required"] == ["amount"]


def test_plain_functions_run_in_threads_or_processes() -> None:
    @task_type("plain")
    def plain(config):  # type: ignore[no-untyped-def]  # a handler need not be annotated
        return None

    @task_type("apart", isolation="process")
    def apart(config: dict[str, Any]) -> None: ...

    assert (declared(plain).isolation, declared(apart).isolation) == ("thread", "process")
    assert declared(plain).config_schema() == {"type": "object"}
    assert declared(plain).timeout_seconds == DEFAULT_TIMEOUT_SECONDS
    assert not declared(plain).takes_context


@pytest.mark.parametrize("name", ["", "_x", "a b", "a.b", "x" * 65, "a\n"])
def test_a_bad_name_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 characters"):
        task_type(name)
    with pytest.raises(ValueError, match="pool"):
        task_type("fine", pool=name)


@pytest.mark.parametrize("seconds", [0, -1, 86_401, float("nan"), float("inf")])
def test_a_bad_timeout_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout_seconds"):
        task_type("x", timeout_seconds=seconds)


def nothing() -> None: ...
def three(a: int, b: int, c: int) -> None: ...
def keyword(config: int, *, ctx: int) -> None: ...
def rest(*config: int) -> None: ...
def generator(config: int) -> Any:
    yield config


@pytest.mark.parametrize("handler", [nothing, three, keyword, rest, generator])
def test_a_function_of_another_shape_is_refused_in_words(handler: Any) -> None:
    with pytest.raises(TypeError, match="allowed"):
        task_type("x")(handler)
