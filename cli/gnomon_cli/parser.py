"""The arguments of the command line: commands, flags, and the words of `--help`."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from gnomon_cli.errors import USAGE
from gnomon_cli.task_input import seconds
from gnomon_schemas.tasks import CatchUpPolicy, Overlap, Priority

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
    _add_task(commands)
    _add_events(commands)
    _add_audit(commands)
    _add_backfill(commands)
    _add_pool(commands)
    _add_verify(commands)
    _add_forecast(commands)
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
    up.add_argument("--schedulers", type=int, default=1, metavar="N", help="how many schedulers (1)")
    up.add_argument("--executors", type=int, default=1, metavar="N", help="how many executors (1)")
    _add_tasks_flag(up)
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
    _add_tasks_flag(executor)
    executor.add_argument("--pools", metavar="A,B", help="the pools it works for (GNOMON_EXECUTOR_POOLS)")
    executor.add_argument(
        "--concurrency",
        type=int,
        metavar="N",
        help="how much it runs at a time (GNOMON_EXECUTOR_CONCURRENCY)",
    )
    commands.add_parser("api", help="run one api process, configured by the environment")
    commands.add_parser("migrate", help="bring the database of GNOMON_DATABASE_URL to this version")


def _add_tasks_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tasks",
        action="extend",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules with your own task types, found also in the working directory",
    )


def _add_task(commands: Any) -> None:
    task = commands.add_parser("task", help="create, list, run, explain, pause … tasks")
    verbs = task.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    _add_create(verbs)
    _add_update(verbs)
    _add_list(verbs)
    show = _verb(verbs, "show", "one task: what it is, and its last executions")
    show.add_argument("id", metavar="ID")
    _add_run(verbs)
    pause = _verb(verbs, "pause", "let no schedule fire until it is resumed")
    pause.add_argument("ids", nargs="+", metavar="ID")
    pause.add_argument("--note", metavar="TEXT", help="why")
    pause.add_argument(
        "--until", metavar="TIME", help="resume by itself then, as 2026-09-21T09:00:00Z or in 2h"
    )
    for name, what in (
        ("resume", "let a paused task run again"),
        ("complete", "call tasks done; what runs goes on"),
        ("cancel", "end tasks for good; what runs is cancelled"),
        ("delete", "delete tasks; their history stays"),
    ):
        verb = _verb(verbs, name, what)
        verb.add_argument("ids", nargs="+", metavar="ID")
    again = _verb(verbs, "retry", "run executions that have ended once more")
    again.add_argument("ids", nargs="+", metavar="EXECUTION", help="an execution, as hello.20260921T090000Z")
    upcoming = _verb(verbs, "next", "the next times at which a task runs")
    upcoming.add_argument("id", metavar="ID")
    upcoming.add_argument("--count", type=int, default=5, metavar="N", help="how many (5)")
    _add_catch_up(verbs)
    explain = _verb(verbs, "explain", "why a slot ran or did not")
    explain.add_argument(
        "id", metavar="ID", help="a task; or one of its executions, as hello.20260921T090000Z"
    )
    explain.add_argument(
        "--at",
        metavar="TIME",
        help="a slot, or any other instant, as 2026-09-21T09:00:00Z (latest execution)",
    )


def _add_catch_up(verbs: Any) -> None:
    late = _verb(verbs, "catch-up", "late runs that wait for a word: show them, let them run, or drop them")
    word = late.add_mutually_exclusive_group()
    word.add_argument("--approve", action="store_true", help="let those that are held run")
    word.add_argument("--discard", action="store_true", help="record those that are held as missed")


def _add_create(verbs: Any) -> None:
    create = _verb(verbs, "create", "create a task")
    create.add_argument(
        "--file", metavar="FILE", help="a task as JSON (- for standard input); flags go on top"
    )
    create.add_argument("--id", help="id of your choice: creating the same again changes nothing")
    _add_dry_run(create)
    create.add_argument("--type", metavar="TYPE", help="what it does: echo, sleep, http_request, or your own")
    _add_fields(create)
    create.add_argument("--paused", action="store_true", help="create it paused")


def _add_update(verbs: Any) -> None:
    update = _verb(verbs, "update", "change a task; what no flag names stays as it is")
    update.add_argument("id", metavar="ID")
    update.add_argument(
        "--file", metavar="FILE", help="what to change, as JSON (- for standard input); flags go on top"
    )
    _add_dry_run(update)
    _add_fields(update).add_argument(
        "--on-demand", action="store_true", help="take its schedule away: it runs on demand only"
    )


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing; tell which runs would appear and disappear"
    )


def _add_fields(create: argparse.ArgumentParser) -> Any:
    """The flags of a task's fields; returns the group of those about its schedule."""
    create.add_argument("--name", help="what people call it")
    create.add_argument("--config", metavar="JSON|@FILE", help="what the type needs to know")
    create.add_argument("--description", metavar="TEXT")
    when = create.add_argument_group("when it runs (a task without any of them runs on demand only)")
    when.add_argument("--cron", metavar="EXPR", help="as '*/5 * * * *'")
    when.add_argument("--every", type=seconds, metavar="DURATION", help="as 30s, 5m, 2h, 1d")
    when.add_argument("--daily", metavar="TIME", help="every day, as 09:00")
    when.add_argument("--at", metavar="TIME", help="once, as 2026-09-21T09:00:00+02:00")
    when.add_argument("--schedule", metavar="JSON|@FILE", help="any schedule, as a task's field has it")
    when.add_argument("--timezone", metavar="ZONE", help="whose clock the schedule reads, as Europe/Berlin")
    when.add_argument("--start-at", metavar="TIME", help="not before")
    when.add_argument("--end-at", metavar="TIME", help="not from then on")
    when.add_argument("--max-runs", type=int, metavar="N", help="no more than so many runs")
    when.add_argument("--jitter", type=seconds, metavar="DURATION", help="spread runs over so much time")
    how = create.add_argument_group("how it runs")
    how.add_argument(
        "--overlap", choices=[str(each) for each in Overlap], help="when the last run still runs"
    )
    how.add_argument(
        "--catch-up",
        choices=[str(each) for each in CatchUpPolicy],
        help="what becomes of runs that were missed",
    )
    how.add_argument("--timeout", type=seconds, metavar="DURATION", help="of one attempt")
    how.add_argument("--attempts", type=int, metavar="N", help="how often it is tried at the most")
    how.add_argument("--expires", type=seconds, metavar="DURATION", help="give up when not started by then")
    how.add_argument("--priority", choices=[str(each) for each in Priority])
    how.add_argument("--pool", help="which executors run it")
    how.add_argument("--tag", action="append", metavar="TAG", help="may be given several times")
    how.add_argument("--metadata", metavar="JSON|@FILE", help="whatever you want to keep with it")
    return when


def _add_list(verbs: Any) -> None:
    listing = _verb(verbs, "list", "the tasks there are")
    listing.add_argument("--status", help="as scheduled, or several: scheduled,paused")
    listing.add_argument("--type", metavar="TYPE")
    listing.add_argument("--tag")
    listing.add_argument("--user")
    listing.add_argument("--query", "-q", metavar="TEXT", help="in name or description")
    listing.add_argument("--sort", metavar="FIELD", help="as name, or -created_at")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    listing.add_argument("--cursor", help="go on where the last list ended")


def _add_run(verbs: Any) -> None:
    run = _verb(verbs, "run", "run a task now")
    run.add_argument("id", metavar="ID")
    run.add_argument("--trigger-data", metavar="JSON|@FILE", help="given to the handler")
    run.add_argument("--config", metavar="JSON|@FILE", help="overrides of its config, for this run")
    run.add_argument(
        "--overlap", choices=[str(each) for each in Overlap], help="when the last run still runs"
    )
    run.add_argument(
        "--wait",
        type=seconds,
        nargs="?",
        const=30,
        metavar="DURATION",
        help="wait for its end (30s); exit code 1 when it did not end well",
    )


def _add_events(commands: Any) -> None:
    events = commands.add_parser("events", help="what has happened, or with --follow what happens")
    events.add_argument(
        "filter",
        nargs="*",
        metavar="FILTER",
        help="event names as executed,failed, and fields as task_id=ID",
    )
    events.add_argument("--follow", "-f", action="store_true", help="show new ones, until Ctrl-C")
    events.add_argument("--last", type=int, default=20, metavar="N", help="without --follow: how many (20)")
    events.add_argument("--json", action="store_true", help="one JSON object a line")
    _add_target_flags(events)


def _add_audit(commands: Any) -> None:
    audit = commands.add_parser(
        "audit",
        help="prove that every slot has exactly one outcome",
        description="Reckon anew which slots there should have been, and compare them with what is recorded. "
        "Exit code 0: every slot has exactly one outcome, or is on its way to it; 1: some are missing, "
        "doubled or misplaced; 2: not understood.",
    )
    audit.add_argument("--task", metavar="ID", help="one task alone")
    audit.add_argument(
        "--since",
        metavar="TIME",
        help="as 2026-09-21T09:00:00Z, or so long ago, as 7d (a day before --until)",
    )
    audit.add_argument("--until", metavar="TIME", help="the same, exclusive (now)")
    audit.add_argument("--json", action="store_true", help="the report as JSON")
    _add_target_flags(audit)


def _add_backfill(commands: Any) -> None:
    backfill = commands.add_parser(
        "backfill",
        help="run slots of the past: all of a span, or those without a success",
        usage="gnomon backfill TASK --from TIME [--to TIME] [--all] [--concurrency N] [--dry-run]\n"
        "       gnomon backfill TASK\n"
        "       gnomon backfill cancel TASK [ID]",
        description="With --from, run slots of a task's schedule that lie in the past; their runs are of low priority "
        "and wait for everything live. Without it, show what is under way.",
    )
    backfill.add_argument(
        "words", nargs="+", metavar="TASK", help="a task; or `cancel`, a task, and a backfill's id"
    )
    backfill.add_argument(
        "--from", dest="since", metavar="TIME", help="as 2026-09-21T09:00:00Z, or so long ago, as 2d"
    )
    backfill.add_argument("--to", dest="until", metavar="TIME", help="the same, exclusive (now)")
    backfill.add_argument("--all", action="store_true", help="those with a success, too (only those without)")
    backfill.add_argument("--concurrency", type=int, metavar="N", help="so many at a time, 1 to 100 (1)")
    backfill.add_argument(
        "--dry-run", action="store_true", help="run nothing; tell how many slots it would be"
    )
    backfill.add_argument("--json", action="store_true", help="the answer as JSON")
    _add_target_flags(backfill)


def _add_verify(commands: Any) -> None:
    verify = commands.add_parser(
        "verify",
        help="make the read models again from the archive, and compare them with the live ones",
        description="Fold every archived event into tables aside, and compare their checksums with those of the live "
        "tables, which are served meanwhile. Exit code 0: they are the same; 1: they differ. Postgres is found by "
        "GNOMON_DATABASE_URL, else by the run.json of `gnomon up`.",
    )
    verify.add_argument(
        "--swap", action="store_true", help="then put the rebuilt tables in the place of the live ones"
    )
    verify.add_argument("--json", action="store_true", help="the comparison as JSON")
    verify.add_argument("--data", type=Path, metavar="DIR", help="data folder of a `gnomon up` (.gnomon)")


def _add_forecast(commands: Any) -> None:
    forecast = commands.add_parser(
        "forecast",
        help="what fires when, and in which minutes too much does",
        description="Count the planned fires of all schedules per bucket, and name the minutes in which most of them "
        "come together. With --add, also of schedules that do not exist yet; nothing is stored.",
    )
    forecast.add_argument(
        "--from", dest="from_", metavar="TIME", help="as 2026-09-21T09:00:00Z, or 1d from now (now)"
    )
    forecast.add_argument("--to", metavar="TIME", help="the same, exclusive (a day after --from)")
    forecast.add_argument("--bucket", type=seconds, metavar="DURATION", help="whole minutes, as 15m (1h)")
    forecast.add_argument(
        "--tolerance",
        type=seconds,
        metavar="DURATION",
        help="how late each task may be (1m): what jitter would do",
    )
    forecast.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="[N x] CRON|JSON",
        help="and these, as '500 x 0 9 * * mon-fri'; may be given several times",
    )
    forecast.add_argument("--json", action="store_true", help="the forecast as JSON")
    _add_target_flags(forecast)


def _add_pool(commands: Any) -> None:
    pool = commands.add_parser("pool", help="list pools, set how much of one may be in flight, pause one")
    verbs = pool.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    _verb(verbs, "list", "the pools there are, and what waits in them")
    setting = _verb(verbs, "set", "set how much of a pool may be in flight at a time, over all executors")
    setting.add_argument("pool", metavar="POOL")
    limit = setting.add_mutually_exclusive_group()
    limit.add_argument("--max-in-flight", type=int, metavar="N", help="no more than so many")
    limit.add_argument("--no-limit", action="store_true", help="as many as executors take")
    for name, what in (
        ("pause", "hand out nothing of a pool; what runs goes on"),
        ("resume", "hand out its work again"),
    ):
        _verb(verbs, name, what).add_argument("pool", metavar="POOL")


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
    _add_target_flags(doctor)


def _verb(verbs: Any, name: str, what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=what, description=what[0].upper() + what[1:]
    )
    parser.add_argument("--json", action="store_true", help="the answer as JSON")
    _add_target_flags(parser)
    return parser


def _add_target_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="address of the api (GNOMON_URL)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder of a `gnomon up` (.gnomon)")
