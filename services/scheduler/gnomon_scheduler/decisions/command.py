"""A command as the shard reads it, and what a decision about it consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from gnomon_core.ledger import Mark
from gnomon_core.rules.account_rules import OPEN_TO_ALL, AccountRules
from gnomon_core.rules.task_type import KnownType
from gnomon_core.timing import Blackouts
from gnomon_scheduler.memory import Flight
from gnomon_scheduler.object_registers import KnownObject
from gnomon_scheduler.registers import Cancelling, TaskRegister
from gnomon_schemas.events import Event, Queued, SlotOutcome

__all__ = ["Command", "Decision", "PastSlots", "Surroundings"]


class PastSlots(NamedTuple):
    """What the log says of some slots of a task."""

    watermark_ms: int
    """Every slot with an emission time up to here was handed out before this turn."""
    log_from_ms: int | None
    """From here on the log has every event there was; None: it has none."""
    recorded: frozenset[int]
    """Nominal times, in seconds, of those with an event on their chain."""
    spans: tuple[tuple[int, int, int], ...]
    """(from, to, revision) of what was passed over in bulk: half-open, in seconds."""
    marks: tuple[Mark, ...]
    """When which schedule was in force, as far as the log tells."""


class Command(NamedTuple):
    """One stored command."""

    kind: str
    verb: str
    object_id: str
    command_id: str | None
    user: str | None
    """Acting user; None: whoever may publish here, who may act for any user."""
    admin: bool
    if_match: str | None
    data: bytes
    seq: int
    """Sequence in `TASK_COMMANDS`."""
    subject: str = ""
    traceparent: str | None = None
    slots: PastSlots | None = None
    """Of a `repair`: what the log says of the slots that it lists."""
    past: tuple[Event, ...] = ()
    """Of a `retry_execution`: the newest event of each kind on the chain of the run that it names, in order."""

    @property
    def privileged(self) -> bool:
        """Whether it may touch what is another's, or everybody's: a service asks, or an admin."""
        return self.user is None or self.admin


_NO_BLACKOUTS: Final = Blackouts()
_NO_OBJECTS: Final[Mapping[str, Mapping[str, KnownObject]]] = MappingProxyType({})


_NO_COUNTS: Final[Mapping[str, int]] = MappingProxyType({})


class Surroundings(NamedTuple):
    """What a decision may look at besides the task."""

    now_ms: int
    partition: int
    types: Mapping[str, KnownType]
    default_timezone: str
    fingerprint: str
    cancel_grace_ms: int
    rules: AccountRules = OPEN_TO_ALL
    """What the operator has set for accounts."""
    tasks_of: Mapping[str, int] = _NO_COUNTS
    """How many tasks users have, over all shards, where their account bounds that: see `task_counts`."""
    objects: Mapping[str, Mapping[str, KnownObject]] = _NO_OBJECTS
    """Templates, calendars and accounts of all shards, by kind and id."""
    blackouts: Blackouts = _NO_BLACKOUTS
    """The calendars that are enabled, of all shards."""


@dataclass(slots=True)
class Decision:
    """What a command does. Nothing of it holds until its batch is stored."""

    reg: TaskRegister
    events: list[Event] = field(default_factory=list)
    """Events of the task itself; the first answers the command."""
    queued: list[tuple[Flight, Queued]] = field(default_factory=list)
    """Executions to write ahead, with the event at the head of their chain."""
    refused: list[SlotOutcome] = field(default_factory=list)
    """Executions that do not run after all, each the only event of its chain."""
    waiting: list[Flight] = field(default_factory=list)
    """Executions to write ahead without an event: slots that wait for their jitter."""
    cancels: list[Cancelling] = field(default_factory=list)
    rescheduled: bool = False
    """The task's coming slots, or the times at which it changes or is told of, have to be planned anew."""
    run: str | None = None
    """The run that the command made or aimed at."""
    repaired: int | None = None
    """Of a `repair`: how many slots were lost."""
    created: bool = False
