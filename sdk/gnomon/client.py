"""`Client`: commands and events for other microservices, over NATS alone.

A command is a JetStream publish that carries its own id. The outcome comes back on an inbox of this client.
Where the outcome does not come, the same command is published again *with the same id*: whoever decides it
knows the ids it has decided, so a repeat is answered and never acted on twice. That is why every method takes
a `command_id`: a caller that keeps it can repeat the call after its own crash.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from gnomon.errors import GnomonError, NotAnswered
from gnomon.event_stream import EventStream
from gnomon.ids import new_id
from gnomon.live_stream import LiveStream, checked_run
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.accounts import Account, AccountLimits, CreditAccount, CreditKind, Tier, account_id_of
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.commands import (
    AcceptedExecution,
    BackfillTask,
    CancelExecution,
    CancelTask,
    CompleteTask,
    DeleteTask,
    Outcome,
    PauseTask,
    ResumeTask,
    RetryExecution,
    RunTask,
)
from gnomon_schemas.limits import COMMAND_MAX, is_id
from gnomon_schemas.problems import Code, problem
from gnomon_schemas.run_logs import RunLogLines
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.signals import Progress
from gnomon_schemas.tasks import CatchUp, Overlap, Priority, RetryPolicy, Task
from gnomon_schemas.templates import DeleteTemplate, Template, TemplateSpec

__all__ = ["Client"]

RESEND_AFTER_SECONDS: Final = 2.0
"""Without an outcome for this long the command is published again. Longer than the stream's duplicate window
(100 ms), within which a repeat would be swallowed."""

_UNSET: Final = msgspec.UNSET
Unset = msgspec.UnsetType
"""Left out: the contract's default holds."""


class Client:
    """A caller of Gnomon.

    `user_id` acts for that user; None acts for the system. `timeout` is how many seconds a command waits for
    its outcome, repeats included. `nats_options` go to `nats.connect` as they are (credentials, TLS,
    callbacks). Used as an async context manager, or with `connect` and `close`.
    """

    def __init__(
        self,
        servers: str | Sequence[str] = "nats://127.0.0.1:4222",
        *,
        user_id: str | None = None,
        roles: Sequence[str] = (),
        timeout: float = 10.0,
        name: str = "gnomon-client",
        **nats_options: Any,
    ) -> None:
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._user_id = user_id
        self._roles = tuple(roles)
        self._timeout = timeout
        self._options: dict[str, Any] = {"name": name, "max_reconnect_attempts": -1, **nats_options}
        self._nc: Nats | None = None
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}

    async def connect(self) -> Self:
        """Connect. Raises what `nats.connect` raises when no server can be reached."""
        if self._nc is None:
            nc = await nats.connect(servers=self._servers, **self._options)
            self._inbox = nc.new_inbox()
            await nc.subscribe(f"{self._inbox}.*", cb=self._outcome_came)
            self._nc = nc
        return self

    async def close(self) -> None:
        """Close the connection. A second call does nothing."""
        nc, self._nc = self._nc, None
        if nc is not None:
            await nc.close()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

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

    async def set_account(
        self,
        user_id: str,
        *,
        tier: Tier | None = None,
        limits: AccountLimits | None = None,
        calendar_reminders: bool | None = None,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Account:
        """Set a user's tier and limits; what is left out stays as it is. Makes the account where there is none. For
        services and admins. Raises GnomonError, NotAnswered."""
        given = {"tier": tier, "limits": limits, "calendar_reminders": calendar_reminders}
        body = {name: value for name, value in given.items() if value is not None}
        account = account_id_of(user_id)
        return _account_of(await self._command("update", account, body, command_id, if_match, kind="account"))

    async def credit_account(
        self,
        user_id: str,
        amount: float,
        *,
        kind: CreditKind = "topup",
        note: str | None = None,
        reference: str | None = None,
        command_id: str | None = None,
    ) -> Account:
        """Give a user credits, once per `command_id`; an `adjustment` may take some back. What was skipped for want of
        credits runs again from then on. As `set_account`."""
        body = CreditAccount(amount=amount, kind=kind, note=note, reference=reference)
        account = account_id_of(user_id)
        return _account_of(await self._command("credit", account, body, command_id, kind="account"))

    async def create_template(
        self, template_id: str, spec: TemplateSpec | Mapping[str, Any], *, command_id: str | None = None
    ) -> Template:
        """Make a template; one that is there just like this stays as it is. For services and admins. Raises
        GnomonError, NotAnswered."""
        return _template_of(await self._command("create", template_id, spec, command_id, kind="template"))

    async def update_template(
        self,
        template_id: str,
        changes: Mapping[str, Any],
        *,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Template:
        """Merge `changes` into a template (RFC 7396), as `create_template`; tasks made from it stay as they are."""
        outcome = await self._command("update", template_id, changes, command_id, if_match, kind="template")
        return _template_of(outcome)

    async def delete_template(
        self, template_id: str, *, if_match: int | None = None, command_id: str | None = None
    ) -> Outcome:
        """Delete a template, as `create_template`; tasks made from it stay as they are."""
        body = DeleteTemplate()
        return await self._command("delete", template_id, body, command_id, if_match, kind="template")

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
        command_id: str | None = None,
    ) -> AcceptedExecution:
        """Run the task once, now, and return the execution that this made.

        `trigger_data` reaches the handler as `ctx.trigger_data`; `config` is merged over the task's for this
        run. Raises GnomonError, NotAnswered.
        """
        body = RunTask(
            trigger_data=msgspec.Raw(encode(trigger_data)),
            config=dict(config) if config is not None else None,
            overlap=Overlap(overlap) if overlap is not None else None,
        )
        outcome = await self._command("run", task_id, body, command_id)
        if outcome.execution is None:
            raise _incomplete(outcome, "the execution")
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
            raise _incomplete(outcome, "the execution")
        return outcome.execution

    def events(self, *names: str, task_id: str | None = None, after_seq: int | None = None) -> EventStream:
        """Events as they are stored, from now on: `async for event in client.events("executed", task_id=…)`.

        `names` are event names (`executed`, `created`, …), none means all; `task_id` narrows to one task.
        Read from the event log, so nothing is missed across reconnects; to go on after a restart of one's
        own, keep the stream's `position` and give it back as `after_seq`. An outcome's `seq` may be given as
        well. Raises ValueError for a name or an id that cannot be one.
        """
        return EventStream(self._connected(), names, task_id=task_id, after_seq=after_seq)

    def logs(self, task_id: str, run: str | None = None) -> LiveStream[RunLogLines]:
        """What the handlers of a task log from now on, of one run or of all: `async for told in client.logs("T")`.

        Each message carries some lines of one attempt, as they are stored. Raises ValueError for an id or a run that
        cannot be one.
        """
        subject = subjects.live_log(task_id, checked_run(task_id, run))
        return LiveStream(self._connected(), subject, RunLogLines)

    def progress(self, task_id: str, run: str | None = None) -> LiveStream[Progress]:
        """How far the handlers of a task are, from now on, of one run or of all. Raises as `logs`."""
        subject = subjects.progress(task_id, checked_run(task_id, run))
        return LiveStream(self._connected(), subject, Progress)

    async def _command(
        self,
        verb: str,
        object_id: str,
        body: Any,
        command_id: str | None = None,
        if_match: int | None = None,
        *,
        kind: str = "task",
    ) -> Outcome:
        command_id = command_id or new_id()
        for what, given in ((f"{kind}_id", object_id), ("command_id", command_id)):
            if not is_id(given):
                raise GnomonError(problem(Code.INVALID_ID, f"{what}={given!r} is not an id"), command_id)
        data = encode(body)
        if len(data) > COMMAND_MAX:
            raise GnomonError(
                problem(Code.TOO_LARGE, f"the command has {len(data)} bytes; allowed: {COMMAND_MAX}"),
                command_id,
            )
        token = new_id()
        headers = {h.MSG_ID: command_id, h.REPLY_TO: f"{self._inbox}.{token}"}
        if self._user_id is not None:
            headers[h.USER] = self._user_id
        if self._roles:
            headers[h.ROLES] = ",".join(self._roles)
        if if_match is not None:
            headers[h.IF_MATCH] = str(if_match)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        try:
            outcome = await self._ask(subjects.command(kind, verb, object_id), data, headers, answer)
        finally:
            del self._waiting[token]
        if outcome.ok:
            return outcome
        raise GnomonError(outcome.error or problem(Code.INTERNAL, "refused without a reason"), command_id)

    async def _ask(
        self, subject: str, data: bytes, headers: dict[str, str], answer: asyncio.Future[Outcome]
    ) -> Outcome:
        """Publish until an outcome comes or the time is up."""
        js = self._connected().jetstream()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while (left := deadline - loop.time()) > 0:
            pause = min(left, RESEND_AFTER_SECONDS)
            resend_at = loop.time() + pause
            # Whatever goes wrong with the publish, the command may have been stored: only its outcome tells.
            with contextlib.suppress(
                nats.errors.TimeoutError,
                nats.js.errors.ServiceUnavailableError,
                nats.js.errors.NoStreamResponseError,
            ):
                await js.publish(subject, data, headers=dict(headers), timeout=pause)
            done, _ = await asyncio.wait((answer,), timeout=max(0.0, resend_at - loop.time()))
            if done:
                return answer.result()
        raise NotAnswered(subject, headers[h.MSG_ID], self._timeout)

    async def _outcome_came(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting.done():
            return
        try:
            waiting.set_result(decode(message.data, Outcome))
        except msgspec.DecodeError as error:  # ValidationError too
            waiting.set_exception(error)

    def _connected(self) -> Nats:
        if self._nc is None:
            raise RuntimeError(
                "not connected: use `async with Client(…) as gnomon`, or await connect() first"
            )
        return self._nc


def _task_of(outcome: Outcome) -> Task:
    if outcome.task is None:
        raise _incomplete(outcome, "the task")
    return outcome.task


def _account_of(outcome: Outcome) -> Account:
    if outcome.account is None:
        raise _incomplete(outcome, "the account")
    return outcome.account


def _template_of(outcome: Outcome) -> Template:
    if outcome.template is None:
        raise _incomplete(outcome, "the template")
    return outcome.template


def _incomplete(outcome: Outcome, missing: str) -> GnomonError:
    return GnomonError(
        problem(Code.INTERNAL, f"accepted, but the answer lacks {missing}"), outcome.command_id
    )
