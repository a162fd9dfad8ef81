"""The list of log events says of each what it carries; alerts and searches are written by that list."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from gnomon_core.runtime import telemetry

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("core/gnomon_core", "services", "cli/gnomon_cli")


@cache
def _told() -> dict[str, str]:
    """Return what stands under each name of the list."""
    (listed,) = (
        node
        for node in ast.parse(Path(telemetry.__file__).read_text()).body
        if isinstance(node, ast.ClassDef)
    )
    told: dict[str, str] = {}
    for name, text in zip(listed.body, listed.body[1:], strict=False):
        match name, text:
            case ast.Assign(targets=[ast.Name(id=event)]), ast.Expr(value=ast.Constant(value=str(words))):
                told[event] = words
            case _:
                pass
    return told


@cache
def _logged() -> dict[str, set[str]]:
    """Return the fields that the calls of loggers give, by the name of the event."""
    fields: dict[str, set[str]] = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(args=[ast.Attribute(value=ast.Name(id="LogEvent"), attr=event), *_]):
                    given = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
                    fields.setdefault(event, set()).update(given - {"exc_info"})
                case _:
                    pass
    return fields


def test_every_event_of_the_list_is_logged_and_has_its_text() -> None:
    """A name that nothing logs would make an alert that never fires."""
    names = {event.name for event in telemetry.LogEvent}
    assert names == set(_told())
    assert names == set(_logged())


@pytest.mark.parametrize("event", telemetry.LogEvent)
def test_every_field_that_is_logged_is_named_under_its_event(event: telemetry.LogEvent) -> None:
    """Whoever searches by a field finds it in the list."""
    assert _logged()[event.name] <= set(re.findall(r"[a-z_]+", _told()[event.name]))
