"""What callers send and what they get back.

A command is published to `gnomon.cmd.<kind>.<verb>.<id>` with its id in `Nats-Msg-Id`. The payload is the struct of
its verb; `create` takes a `TaskSpec` object and `update` a merge patch (RFC 7396) of one.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from gnomon_schemas.accounts import Account
from gnomon_schemas.blackouts import Calendar
from gnomon_schemas.pools import Pool
from gnomon_schemas.problems import Problem
from gnomon_schemas.tasks import NULL, Overlap, Task
from gnomon_schemas.templates import Template

__all__ = [
    "POOL_VERBS",
    "SHARD_VERBS",
    "TASK_VERBS",
    "AcceptedExecution",
    "ApproveCatchUp",
    "BackfillTask",
    "CancelExecution",
    "CancelTask",
    "CompleteTask",
    "DeleteTask",
    "DiscardCatchUp",
    "Outcome",
    "PauseTask",
    "RepairTask",
    "ResumeTask",
    "RetryExecution",
    "RunTask",
    "RunTrigger",
    "UpdatePool",
]

RunTrigger: TypeAlias = Literal["manual", "webhook", "event"]
"""What may be told to have triggered a run on demand."""


class PauseTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`pause`: no slot fires until resumed; what is due and unclaimed is withdrawn."""

    note: str | None = None
    until: str | None = None
    """RFC 3339, after now: the task resumes by itself at that time. None: when somebody resumes it."""


class ResumeTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`resume`: slots from now on fire again; those of the pause are recorded as one span."""


class CancelTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cancel`: the task ends; everything in flight is cancelled, or what runs may finish."""

    reason: str | None = None
    running: Literal["cancel", "finish"] = "cancel"
    """What becomes of executions that have been claimed: with `finish` they go on, retries included. What nobody has
    claimed does not run either way."""


class CompleteTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`complete`: the task's owner calls it done; no slot fires any more, what is in flight goes on."""

    note: str | None = None


class DeleteTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`delete`: everything in flight is cancelled and a tombstone left."""


class RunTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`run`: one execution now, run id `r-<command_id>`."""

    trigger_data: msgspec.Raw = NULL
    config: dict[str, Any] | None = None
    """Overrides, merged over the task's config for this run (RFC 7396)."""
    overlap: Overlap | None = None
    """Instead of the task's own policy, for this run. Under `skip` a run is refused while another is in flight."""
    trigger: RunTrigger | UnsetType = UNSET
    """What made the caller ask: `manual` (the default) where somebody wanted it, `webhook` for a call from outside that
    is passed on, `event` for a message that was heard. The execution and its handler are told; nothing else differs."""


class CancelExecution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cancel_execution`: end one execution, whether waiting or running."""

    run: str
    reason: str | None = None


class UpdatePool(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`pool.update`: what is left out stays as it is."""

    max_in_flight: int | UnsetType | None = UNSET
    """Executions of the pool that may be handed out at a time, over all executors; None: as many as they take."""
    paused: bool | UnsetType = UNSET
    """Nothing of the pool is handed out while it is paused; what runs goes on."""


POOL_VERBS = ("update",)
"""Verbs of kind `pool`, whose object is the pool's name."""


class RetryExecution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`retry_execution`: the same work once more, as a new run `r-<command_id>` with `retry_of`."""

    run: str
    """The run to repeat, which has ended. What it was given (trigger data, overrides) is given again."""


class BackfillTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`backfill`: run slots of the past, with runs `b-<command_id>-<slot>`; or, with `cancel`, stop doing so."""

    from_: str | None = msgspec.field(name="from", default=None)
    """RFC 3339: the span is half-open, [from, to)."""
    to: str | None = None
    """RFC 3339, not after now."""
    only: Literal["gaps", "all"] = "gaps"
    """`gaps`: slots without a success, which whoever sends the command lists in `slots`."""
    slots: tuple[str, ...] | None = None
    """Nominal times to run, of the span and of the task's schedule; None under `all`: every slot of the span."""
    concurrency: int = 1
    """How many of its runs may be in flight at a time, 1 to 100."""
    cancel: str | None = None
    """Id of a backfill to stop: the id of the command that began it. Nothing else may be given then."""


class RepairTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`repair`: slots of which an audit found nothing recorded are handed to the task's catch-up policy.

    The shard looks for itself: a slot that has an outcome, is in flight or is to come is left as it is.
    """

    slots: tuple[str, ...]
    """Nominal times, RFC 3339, 1 to 200 of them."""


TASK_VERBS = (
    "create",
    "update",
    "pause",
    "resume",
    "cancel",
    "complete",
    "delete",
    "run",
    "backfill",
    "cancel_execution",
    "retry_execution",
    "repair",
)
"""Verbs of kind `task` that are understood; others are refused as `unknown_verb`."""


class ApproveCatchUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`approve_catch_up`: the shard's late slots that wait may run, however many they are."""


class DiscardCatchUp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`discard_catch_up`: the shard's late slots that wait are `missed(catch_up_skip)`, all of them."""


SHARD_VERBS = ("approve_catch_up", "discard_catch_up")
"""Verbs of kind `shard`, whose object is `subjects.shard_id(partition, partitions)`."""


class AcceptedExecution(msgspec.Struct, frozen=True, kw_only=True):
    """The execution that a `run` made or a `cancel_execution` aimed at."""

    execution_id: str
    task_id: str
    run: str
    scheduled_for: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a command: `ok` with the task after it, or the problem. `seq` is a sequence in `TASKS` at or
    after the event that answers the command: a reader that has passed it sees the effect."""

    ok: bool
    command_id: str
    task: Task | None = None
    execution: AcceptedExecution | None = None
    pool: Pool | None = None
    """The pool after a command of kind `pool`."""
    account: Account | None = None
    """The account after a command of kind `account`."""
    calendar: Calendar | None = None
    """The calendar after a command of kind `calendar`; None after its `delete`."""
    template: Template | None = None
    """The template after a command of kind `template`; None after its `delete`."""
    seq: int = 0
    error: Problem | None = None
    replayed: bool = False
    """The command had been decided before; `task` is the state now."""
    created: bool = False
    """A `create` made the task or object (False: it was there, with the same body)."""
    repaired: int | None = None
    """Of a `repair`: so many of its slots got their outcome, or run. Of the others the log had it already."""
