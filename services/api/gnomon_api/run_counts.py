"""How many slots of schedules with `max_runs` have run, as far as is recorded.

The shard counts exactly and keeps its count in the task's register. Here it is counted from what is recorded, so a slot
that waits to be claimed is not counted yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from gnomon_api.database import Row
from gnomon_api.readmodels.statements import statement
from gnomon_core.ledger import LimitedRuns, Mark, State, Stretch, limited_runs, until_exhausted
from gnomon_schemas.clock_text import EPOCH
from gnomon_schemas.schedules import Schedule

__all__ = ["Runs", "counted_runs", "marks_of"]

_decode_schedule: Final = msgspec.json.Decoder(Schedule).decode
Fetch = Callable[..., Awaitable[Sequence[Row]]]


class _Counted(NamedTuple):
    runs: LimitedRuns
    counted: int
    last_s: int | None
    """Nominal time of the last slot of which anything is recorded."""


class Runs:
    """What has counted, by task: what belongs to one schedule in the order of its revisions."""

    def __init__(self, found: Mapping[str, Sequence[_Counted]]) -> None:
        self._found = found

    def left(self, task_id: str) -> int | None:
        """How many slots of the task's present schedule may still run; None where nothing is known of it."""
        found = self._found.get(task_id)
        return max(0, found[-1].runs.max_runs - found[-1].counted) if found else None

    def shorten(self, task_id: str, pieces: list[Stretch]) -> list[Stretch]:
        """The task's stretches, without the time in which its schedule had no slot any more."""
        for one in self._found.get(task_id, ()):
            pieces = until_exhausted(pieces, one.runs, one.counted, one.last_s)
        return pieces


async def counted_runs(fetch: Fetch, marks: Mapping[str, Sequence[Mark]]) -> Runs:
    """Count for every schedule with `max_runs` that some tasks have had. `fetch` asks the database."""
    wanted = {task_id: limited_runs(of_task) for task_id, of_task in marks.items()}
    asked = [(task_id, runs.first, runs.last) for task_id, all_runs in wanted.items() for runs in all_runs]
    if not asked:
        return Runs({})
    rows = await fetch(statement("counted_runs"), *map(list, zip(*asked, strict=True)))
    counts = {(row["task_id"], row["first"]): (row["counted"], row["last"]) for row in rows}
    return Runs(
        {
            task_id: [_counted(runs, *counts.get((task_id, runs.first), (0, None))) for runs in all_runs]
            for task_id, all_runs in wanted.items()
        }
    )


def _counted(runs: LimitedRuns, counted: int, last: datetime | None) -> _Counted:
    return _Counted(runs, counted, None if last is None else (last - EPOCH) // timedelta(seconds=1))


def marks_of(rows: Sequence[Row]) -> defaultdict[str, list[Mark]]:
    """By task. A mark without a revision has that of the one before it, and its schedule."""
    marks: defaultdict[str, list[Mark]] = defaultdict(list)
    for row in rows:
        before = marks[row["task_id"]]
        revision, schedule = (before[-1].revision, before[-1].schedule) if before else (0, None)
        if row["revision"] is not None:
            revision = row["revision"]
            schedule = None if row["schedule"] is None else _decode_schedule(row["schedule"])
        at_ms = (row["at"] - EPOCH) // timedelta(milliseconds=1)
        before.append(Mark(at_ms, State(row["state"]), revision, schedule))
    return marks
