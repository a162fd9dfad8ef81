"""`task.due`: one execution that an executor should run now."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from gnomon_schemas.tasks import Priority, RetryPolicy, Trigger

__all__ = ["Due", "DueFence", "PreviousRun"]


class PreviousRun(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Reference to the task's last success; its result is in the event `task.executed` of that run."""

    at: str
    run: str


class Due(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="gnomon.task.due.v1", gc=False):
    """What an executor needs to run one attempt, and nothing more. Times are RFC 3339 text, durations seconds."""

    execution_id: str
    task_id: str
    run: str
    user_id: str | None
    task_type: str
    config: msgspec.Raw
    trigger: Trigger
    attempt: int
    """Counts from 1."""
    scheduled_for: str
    """The nominal time of the slot; for a run on demand, the instant of the command."""
    due_at: str
    """With jitter."""
    expires_at: str | None
    """After this a first attempt that nobody has claimed is `missed(expired)`; None on later attempts."""
    timeout_seconds: float
    deadline: str | None
    """End of all attempts (`total_timeout_seconds`); None when there is no such limit or nothing has started yet."""
    total_timeout_seconds: float | None
    priority: Priority
    pool: str
    credits_per_run: float
    revision: int
    epoch: int
    """Epoch of the shard leader that emitted it; the handler's fencing token is built on it."""
    cause_seq: int
    """Last sequence of the execution's chain when this was emitted; the claim expects it. 0: an empty chain."""
    retry: RetryPolicy
    has_input: bool = False
    """Trigger data or config overrides are in the run's `queued` event, at `cause_seq` of its first attempt."""
    retry_of: str | None = None
    previous: PreviousRun | None = None
    metadata: msgspec.Raw | UnsetType = UNSET
    """The task's, where it has any: for the handler."""


class DueFence(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="gnomon.due_fence.v1"):
    """The one message under a shard's due fence: who may emit dues for the shard."""

    epoch: int
    owner: str
    nonce: str
