"""What the shards of one process tell its metrics and traces. Counted per batch where it is hot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager

from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.tracing import Tracing
from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.events import Coalesced, Event, Executed, Missed, Skipped, event_name
from gnomon_schemas.tasks import Trigger

__all__ = ["ShardMeasures"]


class ShardMeasures:
    """Counts of one process's shards."""

    def __init__(self, meter: Meter, tracing: Tracing) -> None:
        self._meter, self._tracing = meter, tracing

    def deciding(self, command: Command) -> AbstractContextManager[str]:
        """The span of deciding a command, in its caller's trace; gives the `traceparent` to hand on."""
        return self._tracing.span(f"decide {command.kind}.{command.verb}", command.traceparent)

    def firing(self, task: TaskState, flight: Flight) -> AbstractContextManager[str]:
        """The span of publishing a due; gives the `traceparent` that it carries.

        A run on demand continues its caller's trace. A fire begins one, linked to the command that made its schedule.
        """
        link = None if flight.traceparent else task.reg.traceparent
        attributes: dict[str, str | int | float | bool] = {
            "gnomon.execution_id": f"{task.task_id}.{flight.run}",
            "gnomon.attempt": flight.attempt,
        }
        return self._tracing.span("fire", flight.traceparent, link=link, attributes=attributes)

    def fired(self, dues: Sequence[tuple[int, Trigger]]) -> None:
        """Dues were published: lateness in milliseconds, and trigger, of each."""
        for trigger, count in Counter(trigger for _, trigger in dues).items():
            self._meter.add(Metric.FIRES, count, trigger=trigger.value)
        for late_ms, trigger in dues:
            self._meter.record(Metric.FIRE_LATENESS, max(0, late_ms) / 1000, trigger=trigger.value)

    def outcome(self, event: Event) -> None:
        """An execution or slot has its outcome."""
        reason = ""
        if isinstance(event, Executed):
            reason = event.status
        elif isinstance(event, Skipped | Missed | Coalesced):
            reason = event.reason
        self._meter.add(Metric.OUTCOMES, getattr(event, "count", 1), outcome=event_name(event), reason=reason)

    def command(self, verb: str, result: str) -> None:
        """A command was decided: `ok` or a problem code. A verb that is none counts as `unknown`."""
        self._meter.add(
            Metric.COMMANDS, verb=verb if result != "unknown_verb" else "unknown", result=str(result)
        )

    def stored(self, seconds: float, messages: int) -> None:
        """A batch was stored."""
        self._meter.record(Metric.COMMIT_SECONDS, seconds)
        self._meter.record(Metric.BATCH_MESSAGES, messages)

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
