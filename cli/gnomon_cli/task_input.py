"""A task, or a change of one, from the command line: the body of a request, put together from flags and files.

Only what cannot be JSON, or two flags that exclude each other, is refused here. Everything else is the
scheduler's to judge, so that every door says the same.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gnomon_cli.errors import UsageError
from gnomon_cli.shown import DURATION_FORM, instant_given, read_duration

__all__ = ["from_file", "patch_body", "read_json", "seconds", "task_body", "task_fields"]

_PLAIN = {
    "name": "name",
    "description": "description",
    "overlap": "overlap",
    "priority": "priority",
    "pool": "pool",
    "timeout": "timeout_seconds",
    "expires": "expires_seconds",
    "lateness_slo": "lateness_slo_seconds",
    "tag": "tags",
}
"""Flag to field, where the value goes over as it is."""
_HEARTBEATS: dict[str, dict[str, Any] | None] = {"on": {}, "off": None}
_QUOTING = """quote it for the shell, like '{"say": "hi"}', or give a file as @config.json"""
_SCHEDULES = (
    "--every 5m, --cron '0 9 * * *', --daily 09:00 and --at TIME are what is mostly meant; --schedule takes JSON, like "
    """'{"kind": "weekly", "days": ["mon"], "time": "09:00"}'"""
)
_INSTANTS = {"due": "due_date", "remind": "reminder_time"}
"""Flag to field, where an instant is given, or how far off it is."""


def task_body(options: argparse.Namespace) -> dict[str, Any]:
    """The task that the options of `create` ask for: the file's content, then the flags over it.

    Raises `UsageError`.
    """
    body = task_fields(options)
    _complete(body)
    return body


def task_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The same, of a task of which the rest comes from a template. Raises `UsageError`."""
    body = from_file(options.file)
    if options.id is not None:
        body["task_id"] = options.id
    if options.type is not None:
        body["task_type"] = options.type
    _put_fields(body, options)
    if options.paused:
        body["paused"] = True
    _put_schedule(body, options, merges=False)
    return body


def patch_body(options: argparse.Namespace) -> dict[str, Any]:
    """The merge patch that the options of `update` ask for. Raises `UsageError`."""
    body = from_file(options.file)
    _put_fields(body, options)
    _put_schedule(body, options, merges=True)
    if options.on_demand:
        if body.get("schedule") is not None:
            raise UsageError("--on-demand takes the schedule away, and another flag sets one")
        body["schedule"] = None
    if not body:
        raise UsageError(
            "nothing is to be changed", hint="gnomon task update ID --cron '0 9 * * *' --dry-run"
        )
    return body


def _put_fields(body: dict[str, Any], options: argparse.Namespace) -> None:
    for flag, field in _PLAIN.items():
        if (value := getattr(options, flag)) is not None:
            body[field] = value
    if options.config is not None:
        body["config"] = read_json(options.config, "--config")
    for flag, field in _INSTANTS.items():
        if (text := getattr(options, flag)) is not None:
            body[field] = instant_given(text, datetime.now(UTC), ahead=True)
    if options.metadata is not None:
        body["metadata"] = read_json(options.metadata, "--metadata")
    if options.attempts is not None:
        body["retry"] = {**_object(body.get("retry"), "retry"), "max_attempts": options.attempts}
    if options.heartbeat is not None:
        body["heartbeat"] = _HEARTBEATS.get(options.heartbeat, {"url": options.heartbeat})
    if options.catch_up is not None:
        body["catch_up"] = {**_object(body.get("catch_up"), "catch_up"), "policy": options.catch_up}


def read_json(text: str, flag: str, hint: str = _QUOTING) -> Any:
    """JSON given as text, as `@file`, or as `-` for the standard input.

    Raises `UsageError` saying what is wrong, with `hint` saying what to do instead.
    """
    if text == "-":
        where, content = "the standard input", sys.stdin.buffer.read()
    elif text.startswith("@"):
        where, content = text[1:], _read(Path(text[1:]), flag)
    else:
        where, content = repr(text), text.encode()
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{flag}: {where} is not JSON: {error}",
            hint=hint,
        ) from None


def seconds(text: str) -> float:
    """A duration of the command line in seconds, whole where it is whole; for argparse."""
    try:
        value = read_duration(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {DURATION_FORM}") from None
    return int(value) if value == int(value) else value


def from_file(path: str | None) -> dict[str, Any]:
    """The JSON object in a file, `-` for the standard input; empty without a file. Raises `UsageError`."""
    if path is None:
        return {}
    return _object(read_json(path if path == "-" else f"@{path}", "--file"), "--file")


def _object(value: Any, what: str, hint: str = "") -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        told = msgspec.json.encode(value).decode()[:80]
        raise UsageError(f"{what} is {told}: allowed is a JSON object", hint=hint)
    return value


def _put_schedule(body: dict[str, Any], options: argparse.Namespace, *, merges: bool) -> None:
    """The schedule of the flags; bounds and zone go on top of the file's where no flag names a kind.

    `merges`: without any of both they go into the schedule that the task has.
    """
    kinds = {
        "--daily": ("daily", "time", options.daily),
        "--cron": ("cron", "expression", options.cron),
        "--every": ("interval", "every_seconds", options.every),
        "--at": ("once", "at", options.at),
    }
    chosen = [flag for flag, (_, _, value) in kinds.items() if value is not None]
    if options.schedule is not None:
        chosen.append("--schedule")
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other: a task has one schedule")
    common = {
        "timezone": options.timezone,
        "start_at": options.start_at,
        "end_at": options.end_at,
        "jitter_seconds": options.jitter,
        "max_runs": options.max_runs,
    }
    common = {field: value for field, value in common.items() if value is not None}
    given = body.get("schedule")
    if options.schedule is not None:
        given = _object(read_json(options.schedule, "--schedule", _SCHEDULES), "--schedule", _SCHEDULES)
    elif chosen:
        kind, field, value = kinds[chosen[0]]
        given = {"kind": kind, field: value}
    elif common and not isinstance(given, dict):
        if not merges:
            flags = ", ".join("--" + name.removesuffix("_seconds").replace("_", "-") for name in common)
            raise UsageError(
                f"{flags}: there is no schedule for it", hint="add --cron, --every, --daily or --at"
            )
        given = {}
    if chosen or common:
        body["schedule"] = {**given, **common} if isinstance(given, dict) else given


def _complete(body: dict[str, Any]) -> None:
    """Say what is missing before anything is sent, since a beginner begins with nothing."""
    missing = [flag for flag, field in (("--name", "name"), ("--type", "task_type")) if field not in body]
    if missing and "template_id" not in body:
        raise UsageError(
            f"a task needs {' and '.join(missing)}",
            hint='gnomon task create --name Hello --type echo --config \'{"say": "hi"}\' --every 10s',
        )


def _read(path: Path, flag: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{flag}: cannot read {path}: {error.strerror}") from None
