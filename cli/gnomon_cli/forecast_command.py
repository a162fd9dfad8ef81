"""`gnomon forecast`: what fires when, as far as schedules tell."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, CliError
from gnomon_cli.shown import counted, instant, read_duration
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal

__all__ = ["forecast_command"]

_BAR = 40
"""Columns of the longest bar."""


def forecast_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show the forecast. Raises `CliError` when there is no answer."""
    api = ApiClient(find_target(options.url, options.data))
    now = datetime.now(UTC)
    asked = {
        "from": _instant(options.from_, now),
        "to": _instant(options.to, now),
        "bucket": None if options.bucket is None else f"{options.bucket:.0f}",
        "tolerance": None if options.tolerance is None else f"{options.tolerance:.0f}",
    }
    params = {name: value for name, value in asked.items() if value is not None}
    if options.add:
        added = [_added(text) for text in options.add]
        answer = api.post("/forecast", {"add": added}, params=params)
    else:
        answer = api.get("/forecast", **params)
    if options.json:
        terminal.raw(msgspec.json.format(answer.raw or b"null", indent=2))
    else:
        _show(answer.body, terminal)
    return OK


def _show(report: Mapping[str, Any], terminal: Terminal) -> None:
    terminal.line(
        (counted(report["total"], "fire"), "bold"),
        f" of {counted(report['tasks'], 'task')} from {instant(report['from'])} to {instant(report['to'])}",
    )
    if report["skipped"] or report["put_off"]:
        terminal.line(f"blackouts skip {report['skipped']:,} more, and put off {report['put_off']:,}")
    most = max((bucket["fires"] for bucket in report["buckets"]), default=0)
    terminal.table(
        ["from (UTC)", "fires", ""],
        [
            (instant(bucket["at"]), f"{bucket['fires']:,}", "█" * _length(bucket["fires"], most))
            for bucket in report["buckets"]
        ],
    )
    if report["hot"]:
        terminal.line()
        terminal.table(
            ["hot minute (UTC)", "fires", "if spread over the tolerance"],
            [(instant(hot["at"]), f"{hot['fires']:,}", f"{hot['with_jitter']:,}") for hot in report["hot"]],
        )


def _length(fires: int, most: int) -> int:
    """Columns of a bar: one at the least where anything fires."""
    return max(1, round(fires / most * _BAR)) if fires else 0


def _added(text: str) -> dict[str, Any]:
    """`500 x 0 9 * * *`, or a schedule as JSON."""
    count, cross, rest = text.partition("x")
    if not cross or not count.strip().isdigit():
        count, rest = "1", text
    rest = rest.strip()
    if rest.startswith("{"):
        try:
            return {"schedule": msgspec.json.decode(rest), "tasks": int(count)}
        except msgspec.DecodeError as error:
            raise CliError(f"--add {text!r} is not JSON: {error}") from None
    return {"schedule": {"kind": "cron", "expression": rest}, "tasks": int(count)}


def _instant(text: str | None, now: datetime) -> str | None:
    """An instant as it was typed; a duration, as `7d`, is so long from now."""
    if text is None:
        return None
    try:
        return (now + timedelta(seconds=read_duration(text))).isoformat()
    except ValueError:
        return text  # the api says what is wrong with it
