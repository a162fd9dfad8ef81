"""The arguments of `gnomon calendar`."""

from __future__ import annotations

import argparse
from typing import Any

from gnomon_cli.parser_flags import verb
from gnomon_schemas.blackouts import BlackoutAction

__all__ = ["add_calendar"]

_ACTIONS = [str(action) for action in BlackoutAction]


def add_calendar(commands: Any) -> None:
    """Add `gnomon calendar` and its verbs."""
    calendar = commands.add_parser(
        "calendar", help="calendars of blackouts: times in which slots are skipped or put off"
    )
    verbs = calendar.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    listing = verb(verbs, "list", "the calendars there are, and whether each is in force now")
    listing.add_argument("--action", choices=_ACTIONS, help="those that do this")
    listing.add_argument("--tag", help="whose selector names this tag; or one of several: db,mail")
    listing.add_argument(
        "--enabled", choices=["true", "false"], help="those that touch slots, or that are off"
    )
    listing.add_argument("--query", "-q", metavar="TEXT", help="in name or description")
    listing.add_argument("--sort", metavar="FIELD", help="as created_at, or -created_at (name)")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    listing.add_argument("--cursor", help="go on where the last list ended")
    verb(verbs, "show", "one calendar: when it is in force, and whom it touches").add_argument(
        "id", metavar="ID", help="id of the calendar"
    )
    create = verb(verbs, "create", "make a calendar, as an admin")
    create.add_argument("--id", help="id of your choice: creating the same again changes nothing")
    create.add_argument(
        "--file", metavar="FILE", help="a calendar as JSON (- for standard input); flags go on top"
    )
    _add_fields(create)
    update = verb(verbs, "update", "change a calendar, as an admin; what no flag names stays as it is")
    update.add_argument("id", metavar="ID", help="id of the calendar")
    update.add_argument(
        "--file", metavar="FILE", help="what to change, as JSON (- for standard input); flags go on top"
    )
    _add_fields(update)
    enabled = update.add_mutually_exclusive_group()
    enabled.add_argument("--enable", action="store_true", help="it touches slots again")
    enabled.add_argument("--disable", action="store_true", help="it touches nothing; what it put off goes")
    delete = verb(verbs, "delete", "delete calendars, as an admin; what they put off goes")
    delete.add_argument("ids", nargs="+", metavar="ID", help="ids of calendars")
    _add_import(verbs)
    history = verb(verbs, "history", "every change of a calendar: who, when, which fields")
    history.add_argument("id", metavar="ID", help="id of the calendar")
    history.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    history.add_argument("--cursor", help="go on where the last list ended")


def _add_import(verbs: Any) -> None:
    reading = verb(verbs, "import", "make a calendar of an iCalendar file, or replace the spans of one")
    reading.add_argument("file", metavar="FILE", help="an .ics file (- for standard input)")
    into = reading.add_mutually_exclusive_group()
    into.add_argument("--into", metavar="ID", help="the calendar whose spans it replaces")
    into.add_argument("--id", help="id of the calendar to make")
    reading.add_argument("--until", metavar="TIME", help="up to here what recurs is written out (366 days)")
    reading.add_argument("--name", metavar="NAME", help="what people call it (that in the file)")
    _add_selector(reading)
    reading.add_argument("--action", choices=_ACTIONS, help="what becomes of a slot inside (skip)")
    reading.add_argument("--timezone", metavar="ZONE", help="of whole days, and of times without a zone")


def _add_fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="what people call it")
    parser.add_argument("--description", metavar="TEXT", help="more about it, for people")
    _add_selector(parser)
    parser.add_argument("--action", choices=_ACTIONS, help="what becomes of a slot inside (skip)")
    parser.add_argument("--timezone", metavar="ZONE", help="of schedules that name none, as Europe/Berlin")
    parser.add_argument(
        "--span",
        action="append",
        metavar="FROM/TO",
        help="in force once, RFC 3339 with offset; may be repeated",
    )
    parser.add_argument("--cron", metavar="EXPRESSION", help="in force again and again: when it begins")
    parser.add_argument("--lasting", metavar="DURATION", help="and for how long, as 2h")


def _add_selector(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tag", action="append", help="touches tasks with this tag; may be repeated: any of them"
    )
    parser.add_argument("--all-tags", action="store_true", help="only tasks with all of the tags")
    parser.add_argument("--type", action="append", metavar="TYPE", help="touches tasks of this type")
    parser.add_argument("--user", action="append", help="touches tasks of this user")
    parser.add_argument("--all-tasks", action="store_true", help="touches every task")
