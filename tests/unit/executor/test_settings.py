"""Settings and command line of an executor."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.settings import SettingsError
from gnomon_executor.__main__ import environment
from gnomon_executor.settings import ExecutorSettings


def test_defaults_hold_without_any_variable() -> None:
    settings = ExecutorSettings.load({})
    assert (settings.concurrency, settings.takeover_limit, settings.drain_grace) == (100, 3, 30.0)
    assert (settings.pools, settings.tasks, settings.http_allow) == ((), (), "")


def test_the_command_line_goes_before_the_environment() -> None:
    environ = environment(
        ["--tasks", "a", "b", "--pools", "x,y", "--concurrency", "7"], {"GNOMON_EXECUTOR_CONCURRENCY": "9"}
    )
    settings = ExecutorSettings.load(environ)
    assert (settings.tasks, settings.pools, settings.concurrency) == (("a", "b"), ("x", "y"), 7)
    assert ExecutorSettings.load(environment([], {"GNOMON_EXECUTOR_CONCURRENCY": "9"})).concurrency == 9


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GNOMON_EXECUTOR_CONCURRENCY", "0"),
        ("GNOMON_EXECUTOR_CONCURRENCY", "many"),
        ("GNOMON_EXECUTOR_POOLS", "a,b.c"),
        ("GNOMON_HTTP_ALLOW", "localhost"),
        ("GNOMON_DRAIN_GRACE", "-1"),
        ("GNOMON_TAKEOVER_LIMIT", "-1"),
    ],
)
def test_a_bad_value_names_variable_value_and_what_is_allowed(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ExecutorSettings.load({variable: value})
    assert variable in str(caught.value)
    assert repr(value) in str(caught.value)
