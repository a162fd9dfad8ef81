"""The arguments of `gnomon account`."""

from __future__ import annotations

import argparse
from typing import Any

from gnomon_cli.parser_flags import verb
from gnomon_schemas.accounts import LIMIT_NAMES, Tier

__all__ = ["add_account"]

_WORDS = {
    "max_tasks": "tasks that have not ended",
    "runs_per_day": "executions in a UTC day",
    "min_interval_seconds": "seconds between two slots of a schedule",
    "max_concurrent": "executions in flight at a time",
}


def add_account(commands: Any) -> None:
    """Add `gnomon account` and its verbs."""
    account = commands.add_parser("account", help="tiers, limits and credits of users")
    verbs = account.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    show = verb(verbs, "show", "tier, limits and credits of a user")
    show.add_argument("user", metavar="USER", nargs="?", help="yourself if not given")
    _pages(verb(verbs, "list", "the accounts there are, as an admin"))
    _add_set(verbs)
    credit = verb(verbs, "credit", "give a user credits, as an admin")
    credit.add_argument("user", metavar="USER", help="id of the user")
    credit.add_argument("amount", type=float, metavar="CREDITS", help="how many, as 50 or 2.5")
    credit.add_argument(
        "--kind",
        choices=("topup", "grant", "adjustment"),
        default="topup",
        help="where they come from; an adjustment may take some back (topup)",
    )
    credit.add_argument("--note", metavar="TEXT", help="in words, for people")
    credit.add_argument("--reference", metavar="TEXT", help="your own name of it: an invoice, a payment")
    entries = verb(verbs, "entries", "what a user's credits were given and consumed for")
    entries.add_argument("user", metavar="USER", nargs="?", help="yourself if not given")
    _pages(entries)
    history = verb(verbs, "history", "every change of an account: who, when, which fields")
    history.add_argument("user", metavar="USER", help="id of the user")
    _pages(history)


def _add_set(verbs: Any) -> None:
    parser: argparse.ArgumentParser = verb(
        verbs, "set", "set tier and limits of a user, as an admin; what no flag names stays as it is"
    )
    parser.add_argument("user", metavar="USER", help="id of the user")
    parser.add_argument(
        "--tier",
        choices=[str(tier) for tier in Tier],
        help="subscription level, which brings limits and templates",
    )
    for name in LIMIT_NAMES:
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=_limit, metavar="N", help=f"{_WORDS[name]}; none: any number"
        )
    parser.add_argument(
        "--tier-limits", action="store_true", help="drop limits of its own, but for those named"
    )
    parser.add_argument(
        "--calendar-reminders", choices=("on", "off"), help="make calendar events into reminders"
    )
    closing = parser.add_mutually_exclusive_group()
    closing.add_argument(
        "--close",
        dest="closed",
        action="store_true",
        default=None,
        help="cancel all tasks of the user, and let no more be made",
    )
    closing.add_argument("--open", dest="closed", action="store_false", help="let the user make tasks again")
    parser.add_argument("--closed-note", metavar="TEXT", help="why it is closed")


def _pages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    parser.add_argument("--cursor", help="go on where the last list ended")


def _limit(text: str) -> int | str:
    """A limit as it is written: a number, or `none`."""
    if text == "none":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number nor none") from None
