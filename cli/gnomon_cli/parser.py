"""The arguments of the command line: commands, flags, and the words of `--help`."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from gnomon_cli.account_parser import add_account
from gnomon_cli.calendar_parser import add_calendar
from gnomon_cli.errors import USAGE
from gnomon_cli.ledger_parser import (
    add_analytics,
    add_audit,
    add_backfill,
    add_events,
    add_feed,
    add_forecast,
    add_verify,
)
from gnomon_cli.logs_parser import add_logs
from gnomon_cli.parser_flags import add_target_flags, add_tasks_flag
from gnomon_cli.poison_parser import add_poison
from gnomon_cli.pool_parser import add_pool
from gnomon_cli.task_parser import add_task
from gnomon_cli.template_parser import add_template

__all__ = ["build_parser"]

_OVERVIEW = """\
  gnomon up --demo            everything on this machine, with three sample tasks
  gnomon task create --name Hello --type echo --every 10s
  gnomon task list            what there is, and when it runs next
  gnomon events --follow      what happens, as it happens

Commands that speak to a running Gnomon find it by --url, else GNOMON_URL (and GNOMON_TOKEN), else by the
run.json that `gnomon up` leaves in its data folder (--data, .gnomon if not given).
"""


_CHOICE = re.compile(
    r"(?:argument (?P<argument>\S+): )?invalid choice: '(?P<given>[^']*)' \(choose from (?P<allowed>.*)\)"
)
"""argparse's own words for a value that is not among those allowed."""
_KINDS = {"COMMAND": "command", "VERB": "verb"}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors read as help: what was meant, perhaps, and where to read on."""

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it, but a flag that is not known is refused by the command that it was given to.

        argparse itself hands it back up, to be refused by the whole program, which has other flags.
        """
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and any(word.startswith("-") for word in unknown):
            flag = next(word for word in unknown if word.startswith("-"))
            self.error(f"there is no flag {flag.partition('=')[0]!r}", self._flags(), flag.partition("=")[0])
        return found, unknown

    @override
    def error(self, message: str, allowed: Iterable[str] = (), given: str = "") -> NoReturn:
        """Print what is wrong and end with exit code 2."""
        if found := _CHOICE.search(message):
            given, allowed = found["given"], [word.strip(" '") for word in found["allowed"].split(",")]
            if kind := _KINDS.get(found["argument"]):
                message = f"there is no {kind} {given!r}: allowed are {', '.join(allowed)}"
        lines = [f"error: {message}"]
        if close := difflib.get_close_matches(given, list(allowed), n=1):
            lines.append(f"hint: did you mean {close[0]!r}?")
        lines.append(f"hint: `{self.prog} --help` tells what it takes")
        self.exit(USAGE, "\n".join(lines) + "\n")

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. `command` names the command, `verb` that of `gnomon task`."""
    parser = _Parser(
        prog="gnomon",
        description="Gnomon, a durable task scheduler on NATS JetStream.",
        epilog=_OVERVIEW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_up(commands)
    _add_processes(commands)
    add_task(commands)
    add_events(commands)
    add_logs(commands)
    add_audit(commands)
    add_backfill(commands)
    add_pool(commands)
    add_poison(commands)
    add_template(commands)
    add_account(commands)
    add_calendar(commands)
    add_verify(commands)
    add_forecast(commands)
    add_analytics(commands)
    add_feed(commands)
    _add_device(commands)
    _add_doctor(commands)
    return parser


def _add_up(commands: Any) -> None:
    up = commands.add_parser(
        "up",
        help="run everything on this machine, until Ctrl-C",
        description="Run nats-server, Postgres, scheduler, executor and api on this machine as supervised "
        "processes, until Ctrl-C. With GNOMON_NATS_URL or GNOMON_DATABASE_URL set, those are used instead.",
    )
    up.add_argument(
        "--data", type=Path, default=Path(".gnomon"), metavar="DIR", help="keeps all state (.gnomon)"
    )
    up.add_argument("--http-port", type=int, metavar="PORT", help="of the api (8080, or a free one)")
    up.add_argument("--nats-port", type=int, metavar="PORT", help="of nats-server (4222, or a free one)")
    up.add_argument(
        "--mqtt-port",
        type=int,
        metavar="PORT",
        help="let nats-server listen for MQTT too, for devices (it does not)",
    )
    up.add_argument("--schedulers", type=int, default=1, metavar="N", help="how many schedulers (1)")
    up.add_argument("--executors", type=int, default=1, metavar="N", help="how many executors (1)")
    add_tasks_flag(up)
    up.add_argument(
        "--fast",
        action="store_true",
        help="do not wait for the disk: quicker, but a power cut may lose acknowledged writes",
    )
    up.add_argument("--reload", action="store_true", help="restart executors when a file of --tasks changes")
    up.add_argument("--demo", action="store_true", help="create three sample tasks")


def _add_processes(commands: Any) -> None:
    commands.add_parser("scheduler", help="run one scheduler process, configured by the environment")
    executor = commands.add_parser("executor", help="run one executor process, configured by the environment")
    add_tasks_flag(executor)
    executor.add_argument("--pools", metavar="A,B", help="the pools it works for (GNOMON_EXECUTOR_POOLS)")
    executor.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="how much it runs at a time (GNOMON_EXECUTOR_CONCURRENCY)",
    )
    commands.add_parser("api", help="run one api process, configured by the environment")
    commands.add_parser("migrate", help="bring the database of GNOMON_DATABASE_URL to this version")


def _add_device(commands: Any) -> None:
    device = commands.add_parser(
        "device",
        help="a login for a user's phone, for nats-server's configuration",
        description="Print an entry of nats-server's devices.conf: a login with a fresh password, by which a device "
        "of this user hears the user's results and reminders over MQTT, and can do nothing else. Nothing is asked or "
        "stored.",
    )
    device.add_argument("user", metavar="USER", help="the user's id")
    device.add_argument(
        "--name", default="phone", metavar="NAME", help="tells devices of one user apart (phone)"
    )
    device.add_argument("--json", action="store_true", help="user, password, topic and entry as JSON")


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="look at everything that Gnomon stands on, and say what to do about what is wrong",
        description="Look at versions, clocks, streams, durability, leases, lag, stuck work and the database. Nothing "
        "is changed. Exit code 0: nothing failed (there may be warnings); 1: something did; 2: not understood. "
        "NATS is found by GNOMON_NATS_URL (and GNOMON_NATS_CREDS), else by the run.json of `gnomon up`.",
    )
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")
    doctor.add_argument(
        "--monitor",
        metavar="URL",
        help="monitoring port of nats-server, as http://host:8222, to see its durability",
    )
    add_target_flags(doctor)
