"""A stand-in for the shards: hears commands and answers them with events and outcomes, as the scheduler does.

It decides hardly anything. What it does for real is the protocol: commands are heard as they are published,
each id is decided once, events go through the write door, outcomes to `Gnomon-Reply-To`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from nats.aio.msg import Msg

from gnomon_core.rules.backfill_input import parse_backfill
from gnomon_core.rules.pool_input import parse_pool
from gnomon_core.rules.run_input import parse_retry, parse_run
from gnomon_core.rules.status import status_of
from gnomon_core.rules.task_input import changed_fields, parse_create, parse_update
from gnomon_core.rules.transitions import asked, check_not_final
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.clock import SystemClock
from gnomon_schemas import events as ev
from gnomon_schemas import headers as h
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import cloud_event_headers, decode, encode
from gnomon_schemas.commands import AcceptedExecution, BackfillTask, CancelExecution, Outcome
from gnomon_schemas.lifecycle import ENDED
from gnomon_schemas.pools import Pool, PoolUpdated
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import partition_of
from gnomon_schemas.tasks import Backfill, Task, TaskSpec, TaskStatus, Trigger
from tests.integration.api.stories import PARTITIONS, a_task, subject_of

__all__ = ["Responder"]

_SPEC_FIELDS = frozenset(TaskSpec.__struct_fields__)


class Responder:
    """Answers commands on one connection until closed."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus
        self._clock = SystemClock()
        self.tasks: dict[str, Task] = {}
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        """(verb, task id, headers) of every command that arrived, copies too."""
        self.backfills: dict[str, BackfillTask] = {}
        """What was asked, by the id of the command."""
        self.pools: dict[str, Pool] = {}
        self.approved: list[str] = []
        """Ids of shards whose backlog may run."""
        self.lose = 0
        """So many outcomes are not sent."""
        self.last_seq = 0
        """Sequence of the last event that was told."""
        self.silent = False
        """Decide nothing."""
        self._decided: dict[str, Outcome] = {}
        self.arrived = asyncio.Event()

    async def open(self) -> None:
        """Begin to answer."""
        self._subscription = await self._bus.subscribe("gnomon.cmd.*.*.*", self._take)

    async def close(self) -> None:
        """Answer no more."""
        await self._subscription.unsubscribe()

    async def tell(self, event: ev.Event | PoolUpdated, *, traceparent: str | None = None) -> int:
        """Store an event as a service would; its sequence."""
        headers = cloud_event_headers(event, ce_id="e", source="gnomon/test", traceparent=traceparent)
        self.last_seq = (await self._bus.store(subject_of(event), encode(event), headers)).seq
        return self.last_seq

    async def run_to_end(self, task: Task, run: str, *, status: Any = "completed", **fields: Any) -> None:
        """Start and finish an execution, as an executor does; `fields` of both events instead of the usual."""
        await self.start(task, run, **fields)
        now = format_instant(self._clock.now_ms())
        common = {**self._execution(task, run), **fields}
        await self.tell(
            ev.Executed(
                **common,
                status=status,
                result=msgspec.Raw(b'{"said": "hello"}'),
                error=None,
                started_at=now,
                completed_at=now,
                executed_at=now,
                duration_ms=3,
                credits_consumed=0,
                tokens_used=0,
                api_calls_made=0,
                executor="x1",
            )
        )

    async def start(self, task: Task, run: str, **fields: Any) -> None:
        """Start an execution, as an executor does."""
        now = format_instant(self._clock.now_ms())
        common = {**self._execution(task, run), **fields}
        await self.tell(
            ev.Started(
                **common,
                executor="x1",
                due_seq=1,
                nonce="n",
                takeovers=0,
                started_at=now,
                pool="default",
                priority="medium",
            )
        )

    def _execution(self, task: Task, run: str) -> dict[str, Any]:
        now = format_instant(self._clock.now_ms())
        return {
            "task_id": task.task_id,
            "user_id": task.user_id,
            "partition": task.partition,
            "occurred_at": now,
            "execution_id": f"{task.task_id}.{run}",
            "run": run,
            "task_type": task.task_type,
            "attempt": 1,
            "trigger": Trigger.MANUAL,
            "scheduled_for": now,
            "due_at": now,
            "revision": 1,
        }

    async def _take(self, message: Msg) -> None:
        _, _, kind, verb, object_id = message.subject.split(".")
        headers = dict(message.headers or {})
        self.heard.append((verb, object_id, headers))
        self.arrived.set()
        if self.silent:
            return
        command_id = headers[h.MSG_ID]
        if command_id not in self._decided:
            self._decided[command_id] = await self._decide(
                kind, verb, object_id, command_id, headers, message.data
            )
            outcome = self._decided[command_id]
        else:
            outcome = msgspec.structs.replace(self._decided[command_id], replayed=True, created=False)
        if self.lose:
            self.lose -= 1
            return
        await self._bus.send(headers[h.REPLY_TO], encode(outcome))

    async def _decide(
        self, kind: str, verb: str, task_id: str, command_id: str, headers: dict[str, str], data: bytes
    ) -> Outcome:
        handler: Callable[..., Any] = getattr(self, f"_{verb}" if kind == "task" else f"_{kind}_{verb}")
        try:
            if kind == "task" and verb != "create" and task_id not in self.tasks:
                raise Refused(Code.NOT_FOUND, f"there is no task {task_id!r}")
            found: Outcome = await handler(task_id, command_id, headers, data)
        except Refused as refused:
            seq = await self.tell(
                ev.Rejected(
                    task_id=task_id,
                    user_id=headers.get(h.USER),
                    partition=partition_of(task_id, PARTITIONS),
                    occurred_at=format_instant(self._clock.now_ms()),
                    command_id=command_id,
                    verb=verb,
                    error=refused.problem,
                )
            )
            return Outcome(ok=False, command_id=command_id, seq=seq, error=refused.problem)
        return found

    async def _create(self, task_id: str, command_id: str, headers: dict[str, str], data: bytes) -> Outcome:
        now_ms = self._clock.now_ms()
        spec = parse_create(data, now_ms=now_ms, created_at_ms=now_ms, default_timezone="UTC")
        task = a_task(
            task_id,
            at_ms=now_ms,
            user_id=headers[h.USER],
            **{name: getattr(spec, name) for name in _SPEC_FIELDS},
        )
        self.tasks[task_id] = task
        seq = await self.tell(
            ev.Created(
                **self._common(task, command_id),
                name=task.name,
                task_type=task.task_type,
                schedule=task.schedule,
                created_at=task.created_at,
                task=task,
            ),
            traceparent=headers.get(h.TRACEPARENT),
        )
        return Outcome(ok=True, command_id=command_id, task=task, seq=seq, created=True)

    async def _update(self, task_id: str, command_id: str, headers: dict[str, str], data: bytes) -> Outcome:
        task = self.tasks[task_id]
        seen = headers.get(h.IF_MATCH)
        if seen is not None and seen.strip('"') != str(task.version):
            raise Refused(Code.VERSION_MISMATCH, f"the task is at version {task.version}")
        now_ms = self._clock.now_ms()
        spec = TaskSpec(**{name: getattr(task, name) for name in _SPEC_FIELDS})
        new = parse_update(data, spec, now_ms=now_ms, created_at_ms=now_ms, default_timezone="UTC")
        ended = task.status if task.status in ENDED else None
        wanted = asked(data, spec, new, ended, lambda _: True)
        fields = {name: getattr(wanted.spec, name) for name in changed_fields(spec, wanted.spec)}
        if fields or wanted.ended is not ended:
            check_not_final(task.status)
        status = status_of(
            ended=wanted.ended,
            paused=wanted.spec.paused,
            running=False,
            scheduled=wanted.spec.schedule is not None,
        )
        if status is not task.status:
            fields["status"] = status
        return await self._changed(task, command_id, **fields)

    async def _pause(self, task_id: str, command_id: str, _: dict[str, str], __: bytes) -> Outcome:
        return await self._changed(self.tasks[task_id], command_id, paused=True, status=TaskStatus.PAUSED)

    async def _resume(self, task_id: str, command_id: str, _: dict[str, str], __: bytes) -> Outcome:
        return await self._changed(self.tasks[task_id], command_id, paused=False, status=TaskStatus.SCHEDULED)

    async def _cancel(self, task_id: str, command_id: str, _: dict[str, str], __: bytes) -> Outcome:
        return await self._changed(self.tasks[task_id], command_id, status=TaskStatus.CANCELLED)

    async def _complete(self, task_id: str, command_id: str, _: dict[str, str], __: bytes) -> Outcome:
        if self.tasks[task_id].status is TaskStatus.CANCELLED:
            raise Refused(Code.INVALID_STATE, "the task is cancelled, which is final")
        return await self._changed(self.tasks[task_id], command_id, status=TaskStatus.COMPLETED)

    async def _retry_execution(
        self, task_id: str, command_id: str, _: dict[str, str], data: bytes
    ) -> Outcome:
        task, run = self.tasks[task_id], f"r-{command_id}"
        repeated = f"{task_id}.{parse_retry(data).run}"
        common = {
            **self._execution(task, run),
            "command_id": command_id,
            "attempt": 1,
            "trigger": Trigger.RETRY,
            "retry_of": repeated,
        }
        seq = await self.tell(ev.Queued(**common, reason="retry"))
        accepted = AcceptedExecution(
            execution_id=f"{task_id}.{run}", task_id=task_id, run=run, scheduled_for=common["scheduled_for"]
        )
        return Outcome(ok=True, command_id=command_id, task=task, execution=accepted, seq=seq)

    async def _delete(self, task_id: str, command_id: str, _: dict[str, str], __: bytes) -> Outcome:
        task = self.tasks.pop(task_id)
        now = format_instant(self._clock.now_ms())
        seq = await self.tell(
            ev.Deleted(**self._common(task, command_id), deleted_at=now, version=task.version + 1)
        )
        return Outcome(ok=True, command_id=command_id, task=task, seq=seq)

    async def _run(self, task_id: str, command_id: str, _: dict[str, str], data: bytes) -> Outcome:
        task, run = self.tasks[task_id], f"r-{command_id}"
        payload = parse_run(data)
        common = {**self._execution(task, run), "command_id": command_id, "attempt": 0}
        seq = await self.tell(ev.Queued(**common, reason="manual", trigger_data=payload.trigger_data))
        accepted = AcceptedExecution(
            execution_id=f"{task_id}.{run}", task_id=task_id, run=run, scheduled_for=common["scheduled_for"]
        )
        return Outcome(ok=True, command_id=command_id, task=task, execution=accepted, seq=seq)

    async def _backfill(self, task_id: str, command_id: str, _: dict[str, str], data: bytes) -> Outcome:
        task, payload = self.tasks[task_id], parse_backfill(data, now_ms=self._clock.now_ms())
        if payload.cancel is not None:
            left = tuple(one for one in task.backfills if one.backfill_id != payload.cancel)
            if left == task.backfills:
                raise Refused(Code.NOT_FOUND, f"there is no backfill {payload.cancel!r}")
            return await self._changed(task, command_id, backfills=left)
        self.backfills[command_id] = payload
        total = len(payload.slots or ())
        begun = Backfill(
            backfill_id=command_id,
            from_=payload.from_ or "",
            to=payload.to or "",
            total=total,
            left=total,
            in_flight=0,
        )
        return await self._changed(task, command_id, backfills=(*task.backfills, begun))

    async def _pool_update(self, name: str, command_id: str, headers: dict[str, str], data: bytes) -> Outcome:
        payload = parse_pool(data)
        before = self.pools.get(name) or Pool(
            pool=name, max_in_flight=None, paused=False, version=0, updated_at=None
        )
        given = {
            field: value
            for field in ("max_in_flight", "paused")
            if (value := getattr(payload, field)) is not msgspec.UNSET
        }
        now = format_instant(self._clock.now_ms())
        pool = msgspec.structs.replace(before, **given, version=before.version + 1, updated_at=now)
        self.pools[name] = pool
        seq = await self.tell(
            PoolUpdated(
                pool=name,
                partition=partition_of(name, PARTITIONS),
                occurred_at=now,
                command_id=command_id,
                changed_by=headers.get(h.USER),
                max_in_flight=pool.max_in_flight,
                paused=pool.paused,
                version=pool.version,
                updated_at=now,
            )
        )
        return Outcome(ok=True, command_id=command_id, pool=pool, seq=seq)

    async def _shard_approve_catch_up(self, shard: str, command_id: str, *_: object) -> Outcome:
        self.approved.append(shard)
        return Outcome(ok=True, command_id=command_id)

    async def _shard_discard_catch_up(self, shard: str, command_id: str, *_: object) -> Outcome:
        if shard in self.approved:
            raise Refused(Code.FORBIDDEN, "approved already")
        return Outcome(ok=True, command_id=command_id)

    async def _cancel_execution(
        self, task_id: str, command_id: str, _: dict[str, str], data: bytes
    ) -> Outcome:
        task, run = self.tasks[task_id], decode(data, CancelExecution).run
        common = self._execution(task, run)
        seq = await self.tell(
            ev.Skipped(
                **self._common(task, command_id),
                reason="cancelled",
                revision=1,
                execution_id=common["execution_id"],
                run=run,
            )
        )
        return Outcome(ok=True, command_id=command_id, task=task, seq=seq)

    async def _changed(self, task: Task, command_id: str, **fields: Any) -> Outcome:
        if not fields:
            seq = await self.tell(ev.Unchanged(**self._common(task, command_id), verb="update"))
            return Outcome(ok=True, command_id=command_id, task=task, seq=seq)
        now = format_instant(self._clock.now_ms())
        changed = msgspec.structs.replace(task, version=task.version + 1, updated_at=now, **fields)
        self.tasks[task.task_id] = changed
        seq = await self.tell(
            ev.Updated(
                **self._common(changed, command_id),
                updated_fields=tuple(fields),
                updated_at=now,
                changed_by=task.user_id,
                changes=(),
                task=changed,
            )
        )
        return Outcome(ok=True, command_id=command_id, task=changed, seq=seq)

    def _common(self, task: Task, command_id: str) -> dict[str, Any]:
        return {
            "task_id": task.task_id,
            "user_id": task.user_id,
            "partition": task.partition,
            "occurred_at": format_instant(self._clock.now_ms()),
            "command_id": command_id,
        }
