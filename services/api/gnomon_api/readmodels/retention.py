"""What nobody wants any more goes; what the ledger has to show stays.

Executions that have ended go by the month, with the parts of the table that hold them; before they go, each slot among
them is kept in `kept_slots` by its nominal time, outcome and revision, four bytes each where a row takes about a
thousand. So the audit of an old span still reckons slot by slot, `max_runs` still counts, and a backfill still knows
what was done. Tasks that are over go when they have been for long enough and nothing that they ran is left; who had
them stays in `retired_tasks`, and when which schedule was in force in `slot_marks`, for the audit as well. Spans and
second endings are sums already and stay.

**A rebuild does the same.** Each removal is recorded in `retirements` with the position at which it was made, in the
same transaction. A rebuild folds the archive up to that position, removes the same, and goes on: rows made live and
rows made again are the same, and `gnomon verify` says so. The archive keeps every event.

**A crash** leaves the whole of a removal or nothing of it. The projector makes them, between two batches, with its
position held: a projector that has been deposed removes nothing.

An event for an execution that has gone (a second ending after all that time) makes a row anew, which the audit then
tells as a slot with two outcomes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from gnomon_api.readmodels.partitions import Connection, month_of
from gnomon_api.readmodels.statements import statement

__all__ = [
    "KEPT",
    "Removal",
    "Retention",
    "Rounds",
    "due_removals",
    "is_worth_it",
    "removals_after",
    "remove",
]

What: TypeAlias = Literal["executions", "tasks"]
KEPT: Final = ("kept_slots", "retired_tasks", "retirements")
"""The tables that a removal writes. They are made from events and removals alone, as the read models are."""

_LONGEST_SECONDS: Final = 3600.0
"""For one statement of a removal: a month may have many millions of rows."""


class Removal(NamedTuple):
    """Everything of a kind that was over before an instant."""

    what: What
    before: datetime


class Recorded(NamedTuple):
    """A removal that was made, and the position at which."""

    number: int
    sequence: int
    removal: Removal


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long what is over is kept, in seconds; 0: for ever."""

    executions: float = 0.0
    tasks: float = 0.0


def due_removals(retention: Retention, now: datetime) -> list[Removal]:
    """What may go at an instant. Executions go by whole months (UTC), tasks by the day."""
    found: list[Removal] = []
    if retention.executions:
        found.append(Removal("executions", month_of(now - timedelta(seconds=retention.executions))))
    if retention.tasks:
        day = now - timedelta(seconds=retention.tasks)
        found.append(Removal("tasks", day.replace(hour=0, minute=0, second=0, microsecond=0)))
    return found


class Rounds:
    """Which removals are tried in a round, where rounds come more often than anything gets old enough.

    Whether a task may go takes a look at every task. The answer changes with the day, and when executions have gone: so
    a day's look at the tasks is made once, and again after executions went.
    """

    def __init__(self, retention: Retention) -> None:
        self._retention = retention
        self._looked: Removal | None = None
        """The last removal of tasks that was tried to its end."""

    def due(self, now: datetime) -> list[Removal]:
        """What to try at an instant: executions first."""
        return due_removals(self._retention, now)

    def is_needed(self, removal: Removal) -> bool:
        """Whether one of them may find anything that the rounds before did not."""
        return removal != self._looked

    def tried(self, removal: Removal, gone: int) -> None:
        """One was tried, and that many rows went."""
        if removal.what == "tasks":
            self._looked = removal
        elif gone:
            self._looked = None


async def is_worth_it(connection: Connection, removal: Removal) -> bool:
    """Whether there is anything to remove. Raises asyncpg's errors."""
    found = await connection.fetchval(
        statement(f"has_old_{removal.what}"), removal.before, timeout=_LONGEST_SECONDS
    )
    return bool(found)


async def remove(connection: Connection, removal: Removal, sequence: int) -> int:
    """Remove, and record it with the position; how many rows went. The caller holds the position, in a transaction.

    Raises asyncpg's errors.
    """
    if removal.what == "executions":
        gone = await _remove_executions(connection, removal.before)
    else:
        gone = await connection.fetchval(
            statement("retire_tasks"), removal.before, sequence, timeout=_LONGEST_SECONDS
        )
        for name in ("forget_history_of_retired", "forget_status_changes_of_retired"):
            await connection.execute(statement(name), sequence, timeout=_LONGEST_SECONDS)
    await connection.execute(statement("record_retirement"), sequence, *removal, gone)
    return int(gone)


async def _remove_executions(connection: Connection, before: datetime) -> int:
    gone = await connection.fetchval(statement("keep_slots"), before, timeout=_LONGEST_SECONDS)
    await connection.execute(statement("forget_commands"), before, timeout=_LONGEST_SECONDS)
    # Last: to drop a part locks the whole table against its readers until the end of the transaction.
    for row in await connection.fetch(statement("old_parts"), before):
        # A name that the database told, quoted by it where it needs to be; an identifier cannot be a parameter.
        await connection.execute(f"drop table {row['name']}", timeout=_LONGEST_SECONDS)
    return int(gone)


async def removals_after(connection: Connection, home: str, number: int, until: int) -> list[Recorded]:
    """The removals recorded in the schema `home` after one of them, up to and including a position."""
    rows = await connection.fetch(
        # The schema is the one that the read models are in; an identifier cannot be a parameter.
        f"""select number, sequence, what, before from "{home}".retirements
            where number > $1 and sequence <= $2 order by number""",  # noqa: S608
        number,
        until,
    )
    return [Recorded(row["number"], row["sequence"], Removal(row["what"], row["before"])) for row in rows]
