"""The arguments of `gnomon logs`."""

from __future__ import annotations

from typing import Any

from gnomon_cli.parser_flags import add_target_flags
from gnomon_schemas.run_logs import LEVELS

__all__ = ["add_logs"]


def add_logs(commands: Any) -> None:
    """Add `gnomon logs`."""
    logs = commands.add_parser(
        "logs",
        help="what a run logged, or is logging",
        description="Show what the handler of an execution logged, over all its attempts. Of a task, of its latest "
        "execution.",
    )
    logs.add_argument("id", metavar="EXECUTION", help="as hello.20260921T090000Z; or a task")
    logs.add_argument("--follow", action="store_true", help="go on until the execution has ended")
    logs.add_argument("--level", choices=LEVELS, help="lines of this level and above")
    logs.add_argument("--attempt", type=int, metavar="N", help="of one attempt")
    logs.add_argument("--json", action="store_true", help="a JSON object a line")
    add_target_flags(logs)
