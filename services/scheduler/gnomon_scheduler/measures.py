"""What the shards of one process tell its metrics and traces. Counted per batch where it is hot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from logging import DEBUG

import structlog

from gnomon_core.runtime.logs import handling
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import Tracing, child_traceparent, new_traceparent
from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.commands import POOL_VERBS, SHARD_VERBS, TASK_VERBS
from gnomon_schemas.events import Coalesced, DeadLettered, Event, Executed, Missed, Skipped, event_name
from gnomon_schemas.object_kinds import OBJECT_KINDS
from gnomon_schemas.tasks import Trigger

__all__ = ["ShardMeasures"]


_VERBS = {
    *TASK_VERBS,
    *POOL_VERBS,
    *SHARD_VERBS,
    *(verb for kind in OBJECT_KINDS.values() for verb in kind.verbs),
}
"""As a label a verb must not be whatever somebody wrote into a subject."""
_log = structlog.get_logger(__name__)


class _Handled:
    """What log lines about a command or an execution carry."""

    __slots__ = ("_about", "traceparent")

    def __init__(self, traceparent: str | None, about: Mapping[str, str | None]) -> None:
        self.traceparent = traceparent
        self._about = about

    def log_fields(self) -> Mapping[str, str | None]:
        return {"traceparent": self.traceparent, **self._about}


class ShardMeasures:
    """Counts of one process's shards."""

    def __init__(self, meter: Meter, tracing: Tracing) -> None:
        self._meter, self._tracing = meter, tracing
        self._tells = _log.is_enabled_for(DEBUG)  # to be told that it is not takes 1.5 µs a line

    @contextmanager
    def deciding(self, command: Command) -> Iterator[str]:
        """Around deciding a command: its span, in its caller's trace, and its ids on what is logged.

        Gives the `traceparent` to hand on.
        """
        about = {"task_id": command.object_id, "command_id": command.command_id}
        attributes = {f"gnomon.{name}": value for name, value in about.items() if value is not None}
        with self._tracing.span(
            f"decide {command.kind}.{command.verb}", command.traceparent, attributes=attributes
        ) as traceparent:
            with handling(_Handled(traceparent, about)):
                yield traceparent

    def firing(self, task: TaskState, flight: Flight) -> AbstractContextManager[str]:
        """The span of publishing a due; gives the `traceparent` that it carries.

        A run on demand continues its caller's trace. A fire begins one, linked to the command that made its schedule;
        its later attempts continue that.
        """
        if not self._tracing.recording:
            above = flight.traceparent
            traceparent = child_traceparent(above) if above else new_traceparent()
            if self._tells:
                self._tell_fire(task, flight, traceparent)
            return nullcontext(traceparent)
        return self._firing_span(task, flight)

    @contextmanager
    def _firing_span(self, task: TaskState, flight: Flight) -> Iterator[str]:
        link = None if flight.traceparent else task.reg.traceparent
        attributes: dict[str, str | int | float | bool] = {
            "gnomon.task_id": task.task_id,
            "gnomon.execution_id": f"{task.task_id}.{flight.run}",
            "gnomon.trigger": flight.trigger.value,
            "gnomon.attempt": flight.attempt,
        }
        with self._tracing.span(
            "fire", flight.traceparent, link=link, kind="producer", attributes=attributes
        ) as traceparent:
            if self._tells:
                self._tell_fire(task, flight, traceparent)
            yield traceparent

    def _tell_fire(self, task: TaskState, flight: Flight, traceparent: str) -> None:
        about = {"task_id": task.task_id, "execution_id": f"{task.task_id}.{flight.run}"}
        with handling(_Handled(traceparent, about)):
            _log.debug(LogEvent.DUE_MADE, attempt=flight.attempt, trigger=flight.trigger.value)

    def fired(self, dues: Sequence[tuple[int, Trigger]]) -> None:
        """Dues were published: lateness in milliseconds, and trigger, of each."""
        for trigger, count in Counter(trigger for _, trigger in dues).items():
            self._meter.add(Metric.FIRES, count, trigger=trigger.value)
        for late_ms, trigger in dues:
            self._meter.record(Metric.FIRE_LATENESS, max(0, late_ms) / 1000, trigger=trigger.value)

    def derived(self, events: Sequence[Event]) -> None:
        """These events follow from folding."""
        for event in events:
            if isinstance(event, DeadLettered):
                self._meter.add(Metric.DEAD_LETTERS, reason=event.reason)

    def outcome(self, event: Event) -> None:
        """An execution or slot has its outcome."""
        reason = ""
        if isinstance(event, Executed):
            reason = event.status
        elif isinstance(event, Skipped | Missed | Coalesced):
            reason = event.reason
        self._meter.add(Metric.OUTCOMES, getattr(event, "count", 1), outcome=event_name(event), reason=reason)

    def command(self, verb: str, result: str) -> None:
        """A command was decided: `ok` or a problem code. A verb that is none, whatever the command was refused for,
        counts as `unknown`."""
        if self._tells:
            _log.debug(LogEvent.COMMAND_DECIDED, verb=verb[:64], result=str(result))
        self._meter.add(Metric.COMMANDS, verb=verb if verb in _VERBS else "unknown", result=str(result))

    def duplicate(self) -> None:
        """A command that had been decided came again."""
        self._meter.add(Metric.DUPLICATES_REFUSED, what="command")

    def answered(self, seconds: float) -> None:
        """Commands were answered, so long after the turn that decided them began."""
        self._meter.record(Metric.COMMAND_SECONDS, seconds)

    def stand(self, lag_seconds: float, tasks: int, in_flight: int) -> None:
        """How the shards that are led here stand together."""
        self._meter.set(Metric.SHARD_LAG, lag_seconds)
        self._meter.set(Metric.SHARD_TASKS, tasks)
        self._meter.set(Metric.SHARD_IN_FLIGHT, in_flight)

    def set_aside(self, tasks: int) -> None:
        """So many tasks of the shards that are led here are set aside."""
        self._meter.set(Metric.SHARD_SET_ASIDE, tasks)

    def backlog(self, waiting: int, held: int) -> None:
        """How many late slots of the shards that are led here wait to be handed out, and how many are held."""
        self._meter.set(Metric.CATCH_UP_WAITING, waiting)
        self._meter.set(Metric.CATCH_UP_HELD, held)

    def promised(self, task_type: str, *, in_time: bool, slots: int) -> None:
        """Slots of a task with a lateness objective started in time, or are late."""
        verdict = "in_time" if in_time else "late"
        self._meter.add(Metric.LATENESS_SLO_SLOTS, slots, task_type=task_type, verdict=verdict)

    def broken(self, tasks: int) -> None:
        """Of so many tasks of the shards that are led here the lateness objective is broken."""
        self._meter.set(Metric.LATENESS_SLO_BROKEN, tasks)

    def stored(self, seconds: float, messages: int) -> None:
        """A batch was stored."""
        self._meter.record(Metric.COMMIT_SECONDS, seconds)
        self._meter.record(Metric.BATCH_MESSAGES, messages)

    def users_set_aside(self, users: int) -> None:
        """Of so many users it cannot be read what they have spent or may spend."""
        self._meter.set(Metric.USERS_SET_ASIDE, users)

    def gates_set_aside(self, gates: int) -> None:
        """Of so many pools and keys it cannot be read who holds what, or deciding about them failed."""
        self._meter.set(Metric.GATES_SET_ASIDE, gates)

    def took_over(self, seconds: float) -> None:
        """A shard was taken over."""
        self._meter.add(Metric.SHARD_TAKEOVERS)
        self._meter.record(Metric.SHARD_TAKEOVER_SECONDS, seconds)

    def deposed(self) -> None:
        """A shard found another leading after it."""
        self._meter.add(Metric.DEPOSITIONS)

    def leads(self, shards: int) -> None:
        """So many shards are led here now."""
        self._meter.set(Metric.SHARDS_LED, shards)
