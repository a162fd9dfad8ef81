"""Settings are read as documented, and a bad one names its variable, its value and what is allowed."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.runtime.settings import (
    CommonSettings,
    Seconds,
    Setting,
    Settings,
    SettingsError,
    format_duration,
    parse_duration,
    render_env_example,
)


class Everything(Settings, frozen=True, kw_only=True):
    """One field of each kind."""

    title: ClassVar[str] = "Everything"

    needed: str
    """It has no default."""
    port: Annotated[int, Setting(least=1, most=65535)] = 80
    """A number with
    two lines of meaning."""
    ratio: float = 0.5
    """A fraction."""
    wait: Annotated[Seconds, Setting(least=0.1)] = 90.0
    """A duration."""
    verbose: bool = False
    """A switch."""
    pools: tuple[str, ...] = ("default",)
    """A list."""
    colour: Annotated[str | None, Setting(choices=("red", "blue"))] = None
    """A choice, or nothing."""
    password: Annotated[str, Setting(secret=True, check=str.isdigit, allowed="digits")] = ""
    """A secret."""
    elsewhere: Annotated[str, Setting(variable="OTHER_NAME")] = "x"
    """A variable of another name."""


def test_defaults_and_values() -> None:
    assert Everything.load({"GNOMON_NEEDED": "n"}) == Everything(needed="n")
    loaded = Everything.load(
        {
            "GNOMON_NEEDED": " n ",
            "GNOMON_PORT": "8080",
            "GNOMON_RATIO": "1e-3",
            "GNOMON_WAIT": "250ms",
            "GNOMON_VERBOSE": "Yes",
            "GNOMON_POOLS": "a, b,,c",
            "GNOMON_COLOUR": "blue",
            "GNOMON_PASSWORD": "123",
            "OTHER_NAME": "y",
            "GNOMON_ELSEWHERE": "z",
            "UNRELATED": "1",
        }
    )
    assert loaded == Everything(
        needed="n",
        port=8080,
        ratio=0.001,
        wait=0.25,
        verbose=True,
        pools=("a", "b", "c"),
        colour="blue",
        password="123",
        elsewhere="y",
    )


def test_an_empty_variable_counts_as_not_set() -> None:
    assert Everything.load({"GNOMON_NEEDED": "n", "GNOMON_PORT": " "}).port == 80
    with pytest.raises(SettingsError, match="GNOMON_NEEDED is not set"):
        Everything.load({"GNOMON_NEEDED": ""})


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("GNOMON_PORT", "0", "a whole number, 1 to 65535"),
        ("GNOMON_PORT", "70000", "a whole number, 1 to 65535"),
        ("GNOMON_PORT", "8.5", "a whole number"),
        ("GNOMON_RATIO", "half", "a number"),
        ("GNOMON_WAIT", "5 minutes", "a duration such as 250ms, 5s, 10m, 72h, 7d, or plain seconds"),
        ("GNOMON_WAIT", "-5s", "a duration"),
        ("GNOMON_WAIT", "50ms", "at least 100ms"),
        ("GNOMON_VERBOSE", "maybe", "true or false"),
        ("GNOMON_COLOUR", "green", "one of red, blue"),
    ],
)
def test_a_bad_value_names_variable_value_and_what_is_allowed(
    variable: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        Everything.load({"GNOMON_NEEDED": "n", variable: value})
    assert str(refused.value).startswith(f"{variable}={value!r}: ")
    assert allowed in str(refused.value)


def test_a_secret_is_not_shown() -> None:
    with pytest.raises(SettingsError, match=re.escape("GNOMON_PASSWORD=(not shown): digits")):
        Everything.load({"GNOMON_NEEDED": "n", "GNOMON_PASSWORD": "hunter2"})


def test_who_signs_in_by_an_address_is_not_shown() -> None:
    with pytest.raises(SettingsError) as refused:
        CommonSettings.load(
            {"GNOMON_NATS_URL": "nats://scheduler:hunter2@one:4222,nats://x:pass@word@two:port"}
        )
    assert str(refused.value).startswith("GNOMON_NATS_URL='nats://…@one:4222,nats://…@two:port': ")


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("GNOMON_LEASE_TTL", "abc", "a duration such as 250ms, 5s"),
        ("GNOMON_PARTITIONS", "41", "1 to 40"),
        ("GNOMON_TIMEZONE", "Mars/Olympus", "IANA"),
        ("GNOMON_NATS_URL", "http://somewhere", "nats://host:port"),
        ("GNOMON_NATS_URL", "nats://somewhere:port", "nats://host:port"),
        ("GNOMON_NATS_URL", "nats://somewhere:99999", "nats://host:port"),
        ("GNOMON_NATS_URL", "nats://a:4222,nats://", "nats://host:port"),
        ("GNOMON_NATS_CREDS", "/no/such/file.creds", "a file that can be read"),
        ("GNOMON_LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("GNOMON_HEALTH_PORT", "-1", "0 to 65535"),
    ],
)
def test_the_common_settings_refuse_what_cannot_be(variable: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as refused:
        CommonSettings.load({variable: value})
    assert f"{variable}={value!r}: " in str(refused.value)
    assert allowed in str(refused.value)


def test_the_common_settings_by_default() -> None:
    """As the contract gives them."""
    settings = CommonSettings.load({})
    assert (settings.partitions, settings.replicas, settings.lease_ttl, settings.ack_wait) == (8, 1, 5, 10)
    assert (settings.event_ttl, settings.finished_ttl) == (72 * 3600, 7 * 86400)
    assert (settings.timezone, settings.health_port) == ("UTC", None)
    assert CommonSettings.load({"GNOMON_HEALTH_PORT": "0"}).health_port == 0


def test_the_example_lists_each_variable_once_and_can_be_loaded() -> None:
    """With meaning, what is allowed, and the default: what it shows is what is taken anyway."""
    text = render_env_example([CommonSettings, Everything])
    assert (
        "# A number with\n# two lines of meaning.\n# Allowed: a whole number, 1 to 65535.\nGNOMON_PORT=80"
        in text
    )
    lines = [line.partition("=") for line in text.splitlines() if line and not line.startswith("#")]
    environ = {name: value for name, _, value in lines}
    assert len(lines) == len(environ)
    assert CommonSettings.load(environ) == CommonSettings()
    assert Everything.load(environ | {"GNOMON_NEEDED": "n"}) == Everything(needed="n")
    assert len(environ) >= 13


@given(st.integers(0, 10**7))
def test_durations_come_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("10m", 600),
        ("72h", 259200),
        ("7d", 604800),
        ("250ms", 0.25),
        ("5", 5),
        ("0.5", 0.5),
        ("1.5h", 5400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
