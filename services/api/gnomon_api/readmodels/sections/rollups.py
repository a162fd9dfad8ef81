"""Hourly sums of what ran, as a read model: `run_rollups`, `platform_rollups`, `platform_hours`, `start_latency`.

What is counted is in `readmodels/rollups.py`; here is when: each execution's first start and its end once, as the
executions' section tells them, each task made, and each command that made none.
"""

from __future__ import annotations

from collections.abc import Iterable

from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant
from gnomon_api.readmodels.rollups import PlatformHour, Rollups, RunSums
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.sections.executions import Ended, FirstStarted
from gnomon_api.readmodels.sections.tasks import RanOnNewDay
from gnomon_api.readmodels.table import Mode, TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev

__all__ = ["RollupSection"]

_SUMS = RunSums.__struct_fields__
_RUNS = TableWrite(
    "run_rollups", ("user_id", "hour", "task_type", *_SUMS), Mode.ADD, ("user_id", "hour", "task_type")
)
_PLATFORM = TableWrite("platform_rollups", ("hour", "task_type", *_SUMS), Mode.ADD, ("hour", "task_type"))
_HOURS = TableWrite("platform_hours", ("hour", *PlatformHour.__struct_fields__), Mode.ADD, ("hour",))
_LATENCY = TableWrite("start_latency", ("hour", "bucket", "starts"), Mode.ADD, ("hour", "bucket"))


class RollupSection(Section):
    """Only adds: no row has to be known."""

    writes = (_RUNS, _PLATFORM, _HOURS, _LATENCY)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [
            (FirstStarted, self._started),
            (Ended, self._ended),
            (RanOnNewDay, self._ran_on_new_day),
            (ev.Created, self._created),
            (ev.Rejected, self._rejected),
            (ev.SlotOutcome, self._span),
        ]

    @override
    def begin(self) -> None:
        self._rollups = Rollups()

    @override
    def changes(self) -> Iterable[Change]:
        return [
            (_RUNS, list(self._rollups.run_records())),
            (_PLATFORM, list(self._rollups.platform_records())),
            (_HOURS, list(self._rollups.hour_records())),
            (_LATENCY, list(self._rollups.latency_records())),
        ]

    def _started(self, _stored: Stored, fact: FirstStarted) -> None:
        row = fact.row
        if row.due_at is not None and row.started_at is not None:
            self._rollups.started(row.trigger, row.due_at, row.started_at)

    def _ended(self, _stored: Stored, fact: Ended) -> None:
        row = fact.row
        if row.completed_at is None:
            return
        if isinstance(fact.event, ev.Executed):
            self._rollups.executed(fact.event, row.user_id, row.completed_at)
        elif row.started_at is None:
            self._rollups.passed_over(fact.event, row.completed_at)

    def _span(self, _stored: Stored, event: ev.SlotOutcome) -> None:
        """Of one slot its execution tells."""
        if event.execution_id is None or event.run is None:
            self._rollups.passed_over(event, as_instant(event.occurred_at))

    def _ran_on_new_day(self, _stored: Stored, fact: RanOnNewDay) -> None:
        self._rollups.first_of_the_day(fact.completed_at)

    def _created(self, _stored: Stored, event: ev.Created) -> None:
        self._rollups.created(as_instant(event.created_at), from_template=event.task.template_id is not None)

    def _rejected(self, _stored: Stored, event: ev.Rejected) -> None:
        if event.verb == "create":
            self._rollups.create_refused(as_instant(event.occurred_at))
