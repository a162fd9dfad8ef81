"""Flags that many commands take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_target_flags", "add_tasks_flag", "verb"]


def verb(verbs: Any, name: str, what: str) -> argparse.ArgumentParser:
    """A verb of a command that speaks to a running Gnomon: what all of them take is in it."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=what, description=what[0].upper() + what[1:]
    )
    parser.add_argument("--json", action="store_true", help="the answer as JSON")
    add_target_flags(parser)
    return parser


def add_target_flags(parser: argparse.ArgumentParser) -> None:
    """How a command finds the Gnomon that it speaks to."""
    parser.add_argument("--url", help="address of the api (GNOMON_URL)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder of a `gnomon up` (.gnomon)")


def add_tasks_flag(parser: argparse.ArgumentParser) -> None:
    """Where the task types of one's own are."""
    parser.add_argument(
        "--tasks",
        action="extend",
        nargs="+",
        default=[],
        metavar="MODULE",
        help="modules with your own task types, found also in the working directory",
    )
