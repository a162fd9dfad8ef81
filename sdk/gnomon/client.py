"""`Client`: commands and events for other microservices, over NATS alone.

How a command finds its outcome, and why every method takes a `command_id`: see `commanding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET

from gnomon.commanding import incomplete
from gnomon.event_stream import EventStream, ReminderStream
from gnomon.ids import new_id
from gnomon.live_stream import LiveStream, checked_run, decoder_of, live_subject
from gnomon.object_commands import ObjectCommands
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode_event, encode
from gnomon_schemas.commands import (
    AcceptedExecution,
    BackfillTask,
    CancelExecution,
    CancelTask,
    CompleteTask,
    DeleteTask,
    Outcome,
    PauseTask,
    RepairTask,
    ResumeTask,
    RetryExecution,
    RunTask,
    RunTrigger,
)
from gnomon_schemas.events import Event
from gnomon_schemas.run_logs import RunLogLines
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.signals import Progress
from gnomon_schemas.tasks import CatchUp, Overlap, Priority, RetryPolicy, Task

__all__ = ["Client"]

_UNSET: Final = msgspec.UNSET
Unset = msgspec.UnsetType
"""Left out: the contract's default holds."""


class Client(ObjectCommands):
    """A caller of Gnomon.

    `user_id` acts for that user; None acts for the system. `timeout` is how many seconds a command waits for
    its outcome, repeats included. `nats_options` go to `nats.connect` as they are (credentials, TLS,
    callbacks). Used as an async context manager, or with `connect` and `close`.
    """

    async def create_task(
        self,
        *,
        name: str,
        task_type: str,
        config: Any = _UNSET,
        schedule: Schedule | Unset | None = _UNSET,
        task_id: str | None = None,
        description: str | Unset | None = _UNSET,
        priority: Priority | str | Unset = _UNSET,
        pool: str | Unset | None = _UNSET,
        tags: Sequence[str] | Unset = _UNSET,
        metadata: Mapping[str, Any] | Unset = _UNSET,
        timeout_seconds: float | Unset | None = _UNSET,
        total_timeout_seconds: float | Unset | None = _UNSET,
        retry: RetryPolicy | Mapping[str, Any] | Unset | None = _UNSET,
        overlap: Overlap | str | Unset = _UNSET,
        catch_up: CatchUp | Mapping[str, Any] | Unset = _UNSET,
        expires_seconds: float | Unset | None = _UNSET,
        lateness_slo_seconds: float | Unset | None = _UNSET,
        paused: bool | Unset = _UNSET,
        command_id: str | None = None,
        **fields: Any,
    ) -> Task:
        """Create a task and return it.

        `config` is a JSON object: a dict, a Struct, anything msgspec encodes as one. A `task_id` of one's own
        makes creation idempotent; without it a UUIDv7 is made. `fields` are further fields of a task. What is
        left out takes the default of the contract. Raises GnomonError when refused, NotAnswered when no
        outcome came.
        """
        given = {
            "name": name,
            "task_type": task_type,
            "config": config,
            "schedule": schedule,
            "description": description,
            "priority": priority,
            "pool": pool,
            "tags": tags,
            "metadata": metadata,
            "timeout_seconds": timeout_seconds,
            "total_timeout_seconds": total_timeout_seconds,
            "retry": retry,
            "overlap": overlap,
            "catch_up": catch_up,
            "expires_seconds": expires_seconds,
            "lateness_slo_seconds": lateness_slo_seconds,
            "paused": paused,
            **fields,
        }
        body = {field: value for field, value in given.items() if value is not _UNSET}
        outcome = await self._command("create", task_id or new_id(), body, command_id)
        return _task_of(outcome)

    async def create_from_template(
        self,
        template_id: str,
        *,
        config: Any = _UNSET,
        name: str | Unset = _UNSET,
        schedule: Schedule | Unset | None = _UNSET,
        task_id: str | None = None,
        command_id: str | None = None,
        **fields: Any,
    ) -> Task:
        """Create a task from a template and return it.

        `config` is merged over the template's; what the template requires has to be in it, or among `fields`, which
        are further fields of a task. What is left out comes from the template. Raises as `create_task`.
        """
        given = {"template_id": template_id, "config": config, "name": name, "schedule": schedule, **fields}
        body = {field: value for field, value in given.items() if value is not _UNSET}
        return _task_of(await self._command("create", task_id or new_id(), body, command_id))

    async def update(
        self,
        task_id: str,
        changes: Mapping[str, Any],
        *,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Task:
        """Merge `changes` into a task (RFC 7396: null removes) and return it.

        `if_match` refuses the change unless the task still has that version. Raises GnomonError, NotAnswered.
        """
        return _task_of(await self._command("update", task_id, changes, command_id, if_match))

    async def pause(
        self,
        task_id: str,
        *,
        note: str | None = None,
        until: datetime | None = None,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Task:
        """Let no slot fire until resumed, or until a time (aware); what is due and not yet claimed is withdrawn.

        Raises ValueError for a time without an offset, GnomonError, NotAnswered.
        """
        body = PauseTask(note=note, until=None if until is None else format_instant(until))
        return _task_of(await self._command("pause", task_id, body, command_id, if_match))

    async def resume(
        self, task_id: str, *, if_match: int | None = None, command_id: str | None = None
    ) -> Task:
        """Let slots fire again. Raises GnomonError, NotAnswered."""
        return _task_of(await self._command("resume", task_id, ResumeTask(), command_id, if_match))

    async def cancel(
        self,
        task_id: str,
        *,
        reason: str | None = None,
        running: Literal["cancel", "finish"] = "cancel",
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Task:
        """End the task and cancel what is in flight; with `running="finish"` what has begun may finish.

        Raises GnomonError, NotAnswered.
        """
        body = CancelTask(reason=reason, running=running)
        return _task_of(await self._command("cancel", task_id, body, command_id, if_match))

    async def complete(
        self,
        task_id: str,
        *,
        note: str | None = None,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Task:
        """Call the task done: no slot fires any more, what is in flight goes on. Raises GnomonError,
        NotAnswered."""
        return _task_of(
            await self._command("complete", task_id, CompleteTask(note=note), command_id, if_match)
        )

    async def delete(
        self, task_id: str, *, if_match: int | None = None, command_id: str | None = None
    ) -> Outcome:
        """Delete the task; what is in flight is cancelled. Raises GnomonError, NotAnswered."""
        return await self._command("delete", task_id, DeleteTask(), command_id, if_match)

    async def run(
        self,
        task_id: str,
        *,
        trigger_data: Any = None,
        config: Mapping[str, Any] | None = None,
        overlap: Overlap | str | None = None,
        trigger: RunTrigger | None = None,
        command_id: str | None = None,
    ) -> AcceptedExecution:
        """Run the task once, now, and return the execution that this made.

        `trigger_data` reaches the handler as `ctx.trigger_data`; `config` is merged over the task's for this
        run; `trigger` says what made you ask, `webhook` or `event`, where it was not somebody. Raises
        GnomonError, NotAnswered.
        """
        body = RunTask(
            trigger_data=msgspec.Raw(encode(trigger_data)),
            config=dict(config) if config is not None else None,
            overlap=Overlap(overlap) if overlap is not None else None,
            trigger=UNSET if trigger is None else trigger,
        )
        outcome = await self._command("run", task_id, body, command_id)
        if outcome.execution is None:
            raise incomplete(outcome, "the execution")
        return outcome.execution

    async def cancel_execution(
        self, task_id: str, run: str, *, reason: str | None = None, command_id: str | None = None
    ) -> Outcome:
        """Cancel one execution, waiting or running. Raises GnomonError, NotAnswered."""
        return await self._command(
            "cancel_execution", task_id, CancelExecution(run=run, reason=reason), command_id
        )

    async def backfill(
        self,
        task_id: str,
        start: datetime,
        end: datetime,
        *,
        slots: Sequence[datetime] | None = None,
        concurrency: int = 1,
        command_id: str | None = None,
    ) -> str:
        """Run the slots of a span of the past, [start, end), and return the id of the backfill.

        All times are aware. `slots` narrows it to these nominal times; without, every slot of the span is run,
        also one that has run. `concurrency` of them may be in flight at a time. Raises ValueError for a time
        without an offset, GnomonError, NotAnswered.
        """
        body = BackfillTask(
            from_=format_instant(start),
            to=format_instant(end),
            only="all",
            slots=None if slots is None else tuple(map(format_instant, slots)),
            concurrency=concurrency,
        )
        outcome = await self._command("backfill", task_id, body, command_id)
        return outcome.command_id

    async def cancel_backfill(self, task_id: str, backfill_id: str, *, command_id: str | None = None) -> Task:
        """Stop a backfill: what it has not begun does not run, what runs is cancelled. Raises GnomonError,
        NotAnswered."""
        body = BackfillTask(cancel=backfill_id)
        return _task_of(await self._command("backfill", task_id, body, command_id))

    async def retry_execution(
        self, task_id: str, run: str, *, command_id: str | None = None
    ) -> AcceptedExecution:
        """Run an execution that has ended once more, with what it was given; the new execution. Raises
        GnomonError, NotAnswered."""
        outcome = await self._command("retry_execution", task_id, RetryExecution(run=run), command_id)
        if outcome.execution is None:
            raise incomplete(outcome, "the execution")
        return outcome.execution

    async def repair(self, task_id: str, slots: Sequence[datetime], *, command_id: str | None = None) -> Task:
        """Give slots of which nothing is recorded to the task's catch-up policy: for admins, after an audit named them.

        `slots` are nominal times (aware), 1 to 200. The shard looks for itself: what has an outcome, is in flight or
        is still to come stays as it is. Raises ValueError for a time without an offset, GnomonError, NotAnswered.
        """
        body = RepairTask(slots=tuple(map(format_instant, slots)))
        return _task_of(await self._command("repair", task_id, body, command_id))

    def events(self, *names: str, task_id: str | None = None, after_seq: int | None = None) -> EventStream:
        """Events as they are stored, from now on: `async for event in client.events("executed", task_id=…)`.

        `names` are event names (`executed`, `created`, …), none means all; `task_id` narrows to one task.
        Read from the event log, so nothing is missed across reconnects; to go on after a restart of one's
        own, keep the stream's `position` and give it back as `after_seq`. An outcome's `seq` may be given as
        well. Raises ValueError for a name or an id that cannot be one.
        """
        return EventStream(self._connected(), names, task_id=task_id, after_seq=after_seq)

    def live_events(self, *names: str) -> LiveStream[Event]:
        """The same events as they are stored, of all tasks, over core NATS: nothing is made on the server, so it needs
        no more than the right to subscribe to `task.*`. What is stored while the connection is down is not heard.

        Raises ValueError for a name that cannot be one.
        """
        subject, only = live_subject(names)
        return LiveStream(self._connected(), subject, decode_event, only=only)

    def reminders(self, *, task_id: str | None = None, after_seq: int | None = None) -> ReminderStream:
        """What people are to be reminded of, of this client's user, or of everybody where it acts for the system:
        `async for reminder in client.reminders()`. Kept and resumed as `events`; so each reminder comes once, and none
        is missed. Raises as `events`."""
        return ReminderStream(self._connected(), self._user_id, task_id=task_id, after_seq=after_seq)

    def logs(self, task_id: str, run: str | None = None) -> LiveStream[RunLogLines]:
        """What the handlers of a task log from now on, of one run or of all: `async for told in client.logs("T")`.

        Each message carries some lines of one attempt, as they are stored. Raises ValueError for an id or a run that
        cannot be one.
        """
        subject = subjects.live_log(task_id, checked_run(task_id, run))
        return LiveStream(self._connected(), subject, decoder_of(RunLogLines))

    def progress(self, task_id: str, run: str | None = None) -> LiveStream[Progress]:
        """How far the handlers of a task are, from now on, of one run or of all. Raises as `logs`."""
        subject = subjects.progress(task_id, checked_run(task_id, run))
        return LiveStream(self._connected(), subject, decoder_of(Progress))


def _task_of(outcome: Outcome) -> Task:
    if outcome.task is None:
        raise incomplete(outcome, "the task")
    return outcome.task
