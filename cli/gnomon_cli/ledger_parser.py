"""The arguments of the commands about what happened and what will."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnomon_cli.parser_flags import add_target_flags
from gnomon_cli.task_input import seconds

__all__ = [
    "add_analytics",
    "add_audit",
    "add_backfill",
    "add_events",
    "add_feed",
    "add_forecast",
    "add_verify",
]


def add_events(commands: Any) -> None:
    """Add `gnomon events`."""
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
    add_target_flags(events)


def add_audit(commands: Any) -> None:
    """Add `gnomon audit`."""
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
    audit.add_argument(
        "--engine",
        choices=("timing", "cronsim"),
        help="by whose arithmetic the slots of cron schedules are reckoned: Gnomon's own (timing), or cronsim's, "
        "which shares no code with it",
    )
    audit.add_argument(
        "--repair",
        action="store_true",
        help="hand what is missing to its tasks' catch-up policies; not with --engine",
    )
    audit.add_argument("--json", action="store_true", help="the report as JSON")
    add_target_flags(audit)


def add_backfill(commands: Any) -> None:
    """Add `gnomon backfill`."""
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
    add_target_flags(backfill)


def add_verify(commands: Any) -> None:
    """Add `gnomon verify`."""
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


def add_forecast(commands: Any) -> None:
    """Add `gnomon forecast`."""
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
        help="how late a task may be that has no lateness_slo_seconds (1m): what jitter would do",
    )
    forecast.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="[N x] CRON|JSON",
        help="and these, as '500 x 0 9 * * mon-fri'; may be given several times",
    )
    forecast.add_argument("--json", action="store_true", help="the forecast as JSON")
    add_target_flags(forecast)


def add_analytics(commands: Any) -> None:
    """Add `gnomon analytics`."""
    analytics = commands.add_parser(
        "analytics",
        help="how tasks fared: runs, successes, what they used, the busiest hours",
        description="Sum up your tasks and what they did, or, as an admin, the whole platform's. A report may be up to "
        "five minutes old.",
    )
    analytics.add_argument("--days", type=int, metavar="N", help="so many days back, 1 to 366 (30)")
    analytics.add_argument("--timezone", metavar="ZONE", help="whose hours and days, as Europe/Berlin")
    whose = analytics.add_mutually_exclusive_group()
    whose.add_argument("--user", metavar="ID", help="another user's tasks (admins)")
    whose.add_argument("--platform", action="store_true", help="all users' tasks together (admins)")
    analytics.add_argument("--json", action="store_true", help="the report as JSON")
    add_target_flags(analytics)


def add_feed(commands: Any) -> None:
    """Add `gnomon ics`."""
    feed = commands.add_parser(
        "ics",
        help="past runs, coming fires, due dates and reminders as an iCalendar",
        description="Write an iCalendar of your tasks. Calendar programs subscribe to the same at "
        "/api/v1/calendar.ics of the api.",
    )
    feed.add_argument("--days", type=int, metavar="N", help="so many days back and ahead, 1 to 366 (30)")
    feed.add_argument("--type", metavar="TYPE", help="tasks of this type alone")
    feed.add_argument("--tag", help="tasks with this tag alone")
    feed.add_argument("--user", metavar="ID", help="another user's tasks (admins)")
    feed.add_argument("--output", "-o", metavar="FILE", help="write it there (standard output)")
    add_target_flags(feed)
