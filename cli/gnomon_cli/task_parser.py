"""The arguments of `gnomon task`."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from gnomon_cli.parser_flags import verb
from gnomon_cli.task_input import seconds
from gnomon_schemas.commands import RunTrigger
from gnomon_schemas.tasks import CatchUpPolicy, Overlap, Priority

__all__ = ["add_task", "add_task_input"]


def add_task(commands: Any) -> None:
    """Add `gnomon task` and its verbs."""
    task = commands.add_parser("task", help="create, list, run, explain, pause … tasks")
    verbs = task.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    _add_create(verbs)
    _add_update(verbs)
    _add_list(verbs)
    show = verb(verbs, "show", "one task: what it is, and its last executions")
    show.add_argument("id", metavar="ID", help="id of the task")
    show.add_argument(
        "--at", metavar="TIME", help="as it was then, as 2026-09-21T09:00:00Z; 2h is two hours ago"
    )
    _add_history(verbs)
    _add_run(verbs)
    pause = verb(verbs, "pause", "let no schedule fire until it is resumed")
    pause.add_argument("ids", nargs="+", metavar="ID", help="ids of tasks")
    pause.add_argument("--note", metavar="TEXT", help="why")
    pause.add_argument(
        "--until", metavar="TIME", help="resume by itself then, as 2026-09-21T09:00:00Z, or 2h from now"
    )
    for name, what in (
        ("resume", "let a paused task run again"),
        ("complete", "call tasks done; what runs goes on"),
        ("delete", "delete tasks; their history stays"),
    ):
        verb(verbs, name, what).add_argument("ids", nargs="+", metavar="ID", help="ids of tasks")
    cancel = verb(verbs, "cancel", "end tasks for good; what runs is cancelled")
    cancel.add_argument("ids", nargs="+", metavar="ID", help="ids of tasks")
    cancel.add_argument("--finish", action="store_true", help="let what runs finish")
    again = verb(verbs, "retry", "run executions that have ended once more")
    again.add_argument("ids", nargs="+", metavar="EXECUTION", help="an execution, as hello.20260921T090000Z")
    upcoming = verb(verbs, "next", "the next times at which a task runs")
    upcoming.add_argument("id", metavar="ID", help="id of the task")
    upcoming.add_argument("--count", type=int, default=5, metavar="N", help="how many (5)")
    misfits = verb(verbs, "misfits", "the tasks whose config does not fit their type any more, and why")
    misfits.add_argument("type", metavar="TYPE", help="name of a task type")
    misfits.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    misfits.add_argument("--cursor", help="go on where the last list ended")
    _add_catch_up(verbs)
    explain = verb(verbs, "explain", "why a slot ran or did not")
    explain.add_argument(
        "id", metavar="ID", help="a task; or one of its executions, as hello.20260921T090000Z"
    )
    explain.add_argument(
        "--at",
        metavar="TIME",
        help="a slot, or any other instant, as 2026-09-21T09:00:00Z (latest execution)",
    )


def _add_history(verbs: Any) -> None:
    history = verb(verbs, "history", "every change of a task: who, when, which fields, old and new")
    history.add_argument("id", metavar="ID", help="id of the task")
    history.add_argument("--field", metavar="NAMES", help="changes of these alone, as schedule,priority")
    history.add_argument("--user", metavar="NAMES", help="changes that these users asked for")
    history.add_argument("--oldest", action="store_true", help="the oldest first, not the newest")
    history.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    history.add_argument("--cursor", help="go on where the last list ended")


def _add_catch_up(verbs: Any) -> None:
    late = verb(verbs, "catch-up", "late runs that wait for a word: show them, let them run, or drop them")
    word = late.add_mutually_exclusive_group()
    word.add_argument("--approve", action="store_true", help="let those that are held run")
    word.add_argument("--discard", action="store_true", help="record those that are held as missed")


def _add_create(verbs: Any) -> None:
    add_task_input(verb(verbs, "create", "create a task"))


def add_task_input(create: argparse.ArgumentParser) -> None:
    """The flags of a new task."""
    create.add_argument(
        "--file", metavar="FILE", help="a task as JSON (- for standard input); flags go on top"
    )
    create.add_argument("--id", help="id of your choice: creating the same again changes nothing")
    _add_dry_run(create)
    create.add_argument("--type", metavar="TYPE", help="what it does: echo, sleep, http_request, or your own")
    _add_fields(create)
    create.add_argument("--paused", action="store_true", help="create it paused")


def _add_update(verbs: Any) -> None:
    update = verb(verbs, "update", "change a task; what no flag names stays as it is")
    update.add_argument("id", metavar="ID", help="id of the task")
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
    create.add_argument("--description", metavar="TEXT", help="more about it, for people")
    create.add_argument(
        "--due", metavar="TIME", help="when it is to be done, as 2026-09-21T18:00:00Z, or 2d from now"
    )
    create.add_argument("--remind", metavar="TIME", help="when to remind people of it, the same")
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
    how.add_argument(
        "--lateness-slo", type=seconds, metavar="DURATION", help="tell when a run starts later than that"
    )
    how.add_argument(
        "--heartbeat",
        metavar="URL|on|off",
        help="a sign of life while its slots succeed: ask this URL, or publish on gnomon.heartbeat.ID alone (on)",
    )
    how.add_argument(
        "--priority", choices=[str(each) for each in Priority], help="whose work goes first (medium)"
    )
    how.add_argument("--pool", help="which executors run it")
    how.add_argument("--tag", action="append", metavar="TAG", help="may be given several times")
    how.add_argument("--metadata", metavar="JSON|@FILE", help="whatever you want to keep with it")
    return when


def _add_list(verbs: Any) -> None:
    listing = verb(verbs, "list", "the tasks there are")
    listing.add_argument("--status", help="as scheduled, or several: scheduled,paused")
    listing.add_argument("--type", metavar="TYPE", help="as echo, or several: echo,sleep")
    listing.add_argument("--tag", help="with this tag")
    listing.add_argument("--user", metavar="ID", help="tasks of this user, as an admin")
    listing.add_argument("--query", "-q", metavar="TEXT", help="words in name, description or tags")
    listing.add_argument("--overdue", action="store_true", help="due before now, and not done")
    listing.add_argument("--due-before", metavar="TIME", help="as 2026-09-21T18:00:00Z, or 2d from now")
    listing.add_argument("--sort", metavar="FIELD", help="as name, or -created_at")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    listing.add_argument("--cursor", help="go on where the last list ended")


def _add_run(verbs: Any) -> None:
    run = verb(verbs, "run", "run a task now")
    run.add_argument("id", metavar="ID", help="id of the task")
    run.add_argument("--trigger-data", metavar="JSON|@FILE", help="given to the handler")
    run.add_argument("--config", metavar="JSON|@FILE", help="overrides of its config, for this run")
    run.add_argument(
        "--overlap", choices=[str(each) for each in Overlap], help="when the last run still runs"
    )
    run.add_argument(
        "--trigger",
        choices=get_args(RunTrigger),
        help="what made you ask (manual): a webhook that is passed on, or an event that was heard",
    )
    run.add_argument(
        "--wait",
        type=seconds,
        nargs="?",
        const=30,
        metavar="DURATION",
        help="wait for its end (30s); exit code 1 when it did not end well",
    )
