"""The entry of the command `gnomon`: reads the arguments, runs the command, turns errors into help and exit
codes.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

import msgspec

from gnomon_cli.errors import OK, CliError
from gnomon_cli.parser import build_parser

__all__ = ["main"]

_ERROR_STYLES = {"error": "bold red", "hint": "cyan"}
INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Without a command it prints what there is."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.version:
        print(f"gnomon {_version()}")
        return OK
    if options.command is None:
        parser.print_help()
        return OK
    try:
        return _run(options)
    except CliError as error:
        _print_error(error, as_json=bool(getattr(options, "json", False)))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


_SPEAKING: Final = {
    "task": ("gnomon_cli.task_commands", "task_command"),
    "events": ("gnomon_cli.event_commands", "events_command"),
    "logs": ("gnomon_cli.logs_command", "logs_command"),
    "poison": ("gnomon_cli.poison_commands", "poison_command"),
    "pool": ("gnomon_cli.pool_commands", "pool_command"),
    "account": ("gnomon_cli.account_commands", "account_command"),
    "calendar": ("gnomon_cli.calendar_commands", "calendar_command"),
    "template": ("gnomon_cli.template_commands", "template_command"),
    "backfill": ("gnomon_cli.backfill_command", "backfill_command"),
    "audit": ("gnomon_cli.audit_command", "audit_command"),
    "forecast": ("gnomon_cli.forecast_command", "forecast_command"),
    "analytics": ("gnomon_cli.analytics_command", "analytics_command"),
    "ics": ("gnomon_cli.feed_command", "feed_command"),
    "device": ("gnomon_cli.device_command", "device_command"),
    "doctor": ("gnomon_cli.doctor.examination", "doctor_command"),
}
"""Commands that start nothing: where each is done."""


def _run(options: argparse.Namespace) -> int:
    # Imported when needed: a production process has no use for an HTTP client, nor `task list` for a broker.
    if options.command == "up":
        return _up(options)
    if options.command in _SPEAKING:
        from gnomon_cli.terminal import Terminal

        module, name = _SPEAKING[options.command]
        do: Callable[[argparse.Namespace, Terminal], int] = getattr(import_module(module), name)
        return do(options, Terminal())
    from gnomon_cli.process_commands import run_process

    return run_process(options)


def _up(options: argparse.Namespace) -> int:
    if sys.platform not in ("linux", "darwin"):
        raise CliError(
            f"`gnomon up` runs on Linux and macOS, and this is {sys.platform}",
            hint="run it in WSL or a container; the other commands work here with GNOMON_URL set",
        )
    import asyncio

    from gnomon_cli.terminal import Terminal
    from gnomon_cli.up.machine import run_up
    from gnomon_cli.up.plan import UpOptions, port_of

    asked = UpOptions(
        data=options.data,
        http_port=port_of(os.environ) if options.http_port is None else options.http_port,
        nats_port=options.nats_port,
        mqtt_port=options.mqtt_port,
        schedulers=options.schedulers,
        executors=options.executors,
        tasks=tuple(options.tasks),
        fast=options.fast,
        reload=options.reload,
        demo=options.demo,
    )
    return asyncio.run(run_up(asked, Terminal(), os.environ))


def _print_error(error: CliError, *, as_json: bool) -> None:
    problem = getattr(error, "problem", None)
    if as_json and problem is not None:
        print(msgspec.json.format(msgspec.json.encode(problem), indent=2).decode(), file=sys.stderr)
        return
    if not sys.stderr.isatty():
        for line in error.lines():
            print(line, file=sys.stderr)
        return
    from gnomon_cli.terminal import Terminal

    terminal = Terminal(sys.stderr)
    for line in error.lines():
        terminal.paragraph(line, style=_ERROR_STYLES.get(line.partition(":")[0], ""))


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("gnomon-server")
    except metadata.PackageNotFoundError:
        return "of a source tree that is not installed"


if __name__ == "__main__":
    sys.exit(main())
