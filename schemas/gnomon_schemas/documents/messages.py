"""Every message of the contract: its name, its Struct, what it is."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from gnomon_schemas import budgets, commands, dues, members, signals
from gnomon_schemas.devices import DeviceNote
from gnomon_schemas.documents.docstrings import doc_of
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.gates import Grants, Statements
from gnomon_schemas.object_kinds import OBJECT_KINDS
from gnomon_schemas.pools import PoolUpdated
from gnomon_schemas.problems import Problem
from gnomon_schemas.run_logs import RunLogLines
from gnomon_schemas.tasks import TaskSpec

__all__ = ["MESSAGES", "Message", "message_of"]


class Message(NamedTuple):
    """One kind of payload: its schema is `schemas/json/<name>.schema.json`, its samples `schemas/golden/<name>*`."""

    name: str
    struct: type[msgspec.Struct]
    group: Literal["command", "outcome", "event", "work", "signal", "internal"]
    patch: bool = False
    """The payload is a merge patch (RFC 7396) of the Struct."""

    @property
    def summary(self) -> str:
        """The first sentence of the Struct's docstring."""
        if self.patch:
            return f"A merge patch (RFC 7396) of a {self.struct.__name__}"
        return doc_of(self.struct).partition(". ")[0].rstrip(".")


def _commands() -> list[Message]:
    structs: dict[str, type[msgspec.Struct]] = {
        "create": TaskSpec,
        "update": TaskSpec,
        "pause": commands.PauseTask,
        "resume": commands.ResumeTask,
        "cancel": commands.CancelTask,
        "complete": commands.CompleteTask,
        "delete": commands.DeleteTask,
        "run": commands.RunTask,
        "backfill": commands.BackfillTask,
        "cancel_execution": commands.CancelExecution,
        "retry_execution": commands.RetryExecution,
        "repair": commands.RepairTask,
    }
    return [
        Message(f"command.{verb}", structs[verb], "command", patch=verb == "update")
        for verb in commands.TASK_VERBS
    ] + [
        Message("command.pool.update", commands.UpdatePool, "command"),
        *(
            Message(f"command.{kind}.{verb}", one.payload, "command", patch=one.patch)
            for kind, messages in OBJECT_KINDS.items()
            for verb, one in messages.verbs.items()
        ),
        Message("command.shard.approve_catch_up", commands.ApproveCatchUp, "command"),
        Message("command.shard.discard_catch_up", commands.DiscardCatchUp, "command"),
    ]


MESSAGES: Final[tuple[Message, ...]] = (
    *_commands(),
    Message("outcome", commands.Outcome, "outcome"),
    Message("problem", Problem, "outcome"),
    *(Message(f"task.{name}", struct, "event") for name, struct in EVENT_TYPES.items()),
    Message("pool.updated", PoolUpdated, "event"),
    *(
        Message(f"{kind}.{name}", struct, "event")
        for kind, messages in OBJECT_KINDS.items()
        for name, struct in messages.events.items()
    ),
    Message("task.due", dues.Due, "work"),
    Message("progress", signals.Progress, "signal"),
    Message("heartbeat", signals.SignOfLife, "signal"),
    Message("run_log_lines", RunLogLines, "signal"),
    Message("device_note", DeviceNote, "signal"),
    Message("cancel_signal", signals.CancelSignal, "signal"),
    Message("due_fence", dues.DueFence, "internal"),
    Message("lease", members.Lease, "internal"),
    Message("member", members.Member, "internal"),
    Message("type_announcement", members.TypeAnnouncement, "internal"),
    Message("projector_position", members.ProjectorPosition, "internal"),
    Message("purge_floor", members.PurgeFloor, "internal"),
    Message("scheduler_status", members.SchedulerStatus, "internal"),
    Message("gate_statements", Statements, "internal"),
    Message("gate_grants", Grants, "internal"),
    Message("budget_statements", budgets.BudgetStatements, "internal"),
    Message("budget_grants", budgets.BudgetGrants, "internal"),
    Message("task_count_question", budgets.TaskCountQuestion, "internal"),
    Message("task_count", budgets.TaskCount, "internal"),
    Message("claim_question", members.ClaimQuestion, "internal"),
    Message("claim_answer", members.ClaimAnswer, "internal"),
)
"""In the order in which documents show them. `internal`: between Gnomon's own processes."""

_BY_NAME: Final = {message.name: message for message in MESSAGES}


def message_of(sample: str) -> Message:
    """The message that a sample is of, by the name of its golden file: `task.skipped.span` is a `task.skipped`.

    Raises KeyError.
    """
    name = sample
    while name not in _BY_NAME:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise KeyError(sample)
    return _BY_NAME[name]
