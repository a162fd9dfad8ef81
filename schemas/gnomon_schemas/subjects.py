"""Every stream, bucket and subject, spelled once.

A *stored* subject is what a stream holds. Services write to a stored subject through the write door,
`gnomon.write.<stored subject>`; the stream's transform takes the prefix off. Expectations
(`Nats-Expected-Last-Subject-Sequence-Subject`) and filters always name stored subjects.
"""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

__all__ = [
    "ACCOUNTS_BUCKET",
    "ALL_REGISTERS",
    "CMD_PATTERN",
    "COMMANDS_STREAM",
    "DEVICES_KEY",
    "DUE_STREAM",
    "ECOSYSTEM_STREAM",
    "EVENTS_FILTER",
    "EVENTS_STREAM",
    "LEASES_BUCKET",
    "LOGS_FILTER",
    "LOGS_STREAM",
    "MEMBERS_BUCKET",
    "POOL_REGISTERS",
    "PRIORITIES",
    "PROJECTOR_KEY",
    "PURGE_FLOOR_KEY",
    "SCHEDULER_STATUS",
    "STARTING_SET_KEY",
    "STREAMS",
    "TASK_RUN",
    "TYPES_BUCKET",
    "WRITE_DOOR",
    "CommandSubject",
    "DueSubject",
    "EventSubject",
    "budget_grants",
    "budget_register",
    "budget_statements",
    "calendar_register",
    "cancel_signal",
    "chain",
    "command",
    "device_notes",
    "due",
    "due_fence",
    "due_filter",
    "event",
    "events_named",
    "executor_claims",
    "gate_grants",
    "gate_register",
    "gate_statements",
    "health",
    "heartbeat",
    "is_due",
    "leader_ping",
    "live",
    "live_log",
    "object_register",
    "object_registers",
    "parse_command",
    "parse_due",
    "parse_event",
    "parse_object_register",
    "partition_commands",
    "partition_events",
    "partition_of",
    "pool_dues",
    "progress",
    "register_word",
    "run_log",
    "shard_id",
    "shard_register",
    "task_counts",
    "task_register",
    "task_registers",
    "usage_register",
    "write",
]

COMMANDS_STREAM = "TASK_COMMANDS"
"""Work queue of commands. Published as `gnomon.cmd.<kind>.<verb>.<id>`, stored with the partition before the id."""
EVENTS_STREAM = "TASKS"
"""The event log, and one register per object and per shard."""
DUE_STREAM = "TASK_DUE"
"""Work queue of executions that are due and unfinished, and one fence per shard."""
LOGS_STREAM = "TASK_LOGS"
"""What handlers log, until it is in Postgres. A stream of its own, with limits: logs never crowd the event log."""
ECOSYSTEM_STREAM = "ECOSYSTEM"
"""What other services tell, where they have no stream of their own for it. Made by the listeners, not at the start."""
STREAMS = (COMMANDS_STREAM, EVENTS_STREAM, DUE_STREAM, LOGS_STREAM)

LEASES_BUCKET = "GNOMON_LEASES"
MEMBERS_BUCKET = "GNOMON_MEMBERS"
TYPES_BUCKET = "GNOMON_TASK_TYPES"
ACCOUNTS_BUCKET = "GNOMON_ACCOUNTS"

PROJECTOR_KEY = "projector"
"""Key in `GNOMON_ACCOUNTS`, a bucket without TTL: the projector's `{created, sequence, time}`."""
STARTING_SET_KEY = "starting_templates"
"""Key in `GNOMON_ACCOUNTS`: ids of the templates of the starting set that were ever made here, as a JSON list."""
DEVICES_KEY = "devices"
"""Key in `GNOMON_ACCOUNTS`: how far users' devices have been told of the log."""
PURGE_FLOOR_KEY = "purge_floor"
"""Key in `GNOMON_ACCOUNTS`: the janitor's `PurgeFloor`, written before it purges. Missing: nothing was ever purged."""
SCHEDULER_STATUS = "gnomon.status.scheduler"
"""Core subject on which every scheduler answers with its `SchedulerStatus`."""

WRITE_DOOR = "gnomon.write."
CMD_PATTERN = "gnomon.cmd.*.*.*"
"""What the commands stream listens to. As a *filter* it finds the commands that were stored untransformed
(a hostile id such as `*`): properly stored ones have one token more."""
EVENTS_FILTER = "*.*.*.*.*"
"""All events of all kinds and partitions: registers have four tokens or three."""
LOGS_FILTER = "logs.*.*.*"
"""All lines of all executions."""
POOL_REGISTERS = "state.pool.*.*"
"""Filter for what is set of all pools."""
ALL_REGISTERS = "state.>"
"""Filter for the registers of all objects and shards."""
TASK_RUN = "_"
"""The run of events that belong to the task itself."""
PRIORITIES = ("urgent", "high", "medium", "low")

_REGISTER_WORDS = {"template": "template", "account": "account", "calendar": "blackout"}
"""How the registers of objects are called, by kind: `state.calendar` is what a shard keeps of the rules of zones."""
_KINDS_OF_WORDS = {word: kind for kind, word in _REGISTER_WORDS.items()}

_FNV_OFFSET, _FNV_PRIME, _U32 = 2166136261, 16777619, 0xFFFFFFFF


def partition_of(object_id: str, partitions: int) -> int:
    """The partition of an id, 0 to `partitions` - 1: FNV-1a 32, as the server's `{{partition(P,n)}}` computes it."""
    value = _FNV_OFFSET
    for byte in object_id.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _U32
    return value % partitions


def shard_id(partition: int, partitions: int) -> str:
    """The id that stands for a shard itself in a command to it: `shard-<partition>-<k>`, with the smallest `k` that
    lets the broker put it into that very partition."""
    return next(
        name for k in count() if partition_of(name := f"shard-{partition}-{k}", partitions) == partition
    )


def write(stored_subject: str) -> str:
    """The subject to publish on so that `stored_subject` is stored."""
    return WRITE_DOOR + stored_subject


def command(kind: str, verb: str, object_id: str) -> str:
    """Where a caller publishes a command."""
    return f"gnomon.cmd.{kind}.{verb}.{object_id}"


def partition_commands(partition: int) -> str:
    """Filter for the stored commands of one partition."""
    return f"gnomon.cmd.*.*.{partition}.*"


def event(kind: str, name: str, partition: int, object_id: str, run: str = TASK_RUN) -> str:
    """Stored subject of an event, so `task.executed.3.T.20261121T090000Z`."""
    return f"{kind}.{name}.{partition}.{object_id}.{run}"


def events_named(kind: str, name: str) -> str:
    """Filter for the events of one name, of all objects of a kind: `task.executed.*.*.*`."""
    return f"{kind}.{name}.*.*.*"


def partition_events(partition: int) -> str:
    """Filter for the events of one partition."""
    return f"*.*.{partition}.*.*"


def chain(partition: int, task_id: str, run: str) -> str:
    """The filter that names an execution's chain; the very string every publish on it must expect on."""
    return f"task.*.{partition}.{task_id}.{run}"


def task_register(partition: int, task_id: str, kind: str = "task") -> str:
    """Stored subject of an object's register."""
    return f"state.{kind}.{partition}.{task_id}"


def task_registers(partition: int) -> str:
    """Filter for the registers of all objects in a partition."""
    return f"state.*.{partition}.*"


def calendar_register(partition: int, name: str) -> str:
    """Stored subject of the register that keeps the rules of a part of the calendar for a shard."""
    return task_register(partition, name, "calendar")


def object_register(kind: str, partition: int, object_id: str) -> str:
    """Stored subject of the register of a template, calendar or account."""
    return f"state.{_REGISTER_WORDS[kind]}.{partition}.{object_id}"


def object_registers(kind: str, object_id: str = "*") -> str:
    """Filter for the registers of all objects of a kind, in all partitions; or for the one with this id."""
    return f"state.{_REGISTER_WORDS[kind]}.*.{object_id}"


def parse_object_register(subject: str) -> tuple[str, str] | None:
    """Kind and id of the object whose register has this stored subject; None where it is another register."""
    _, word, _, rest = f"{subject}...".split(".", 3)
    kind = _KINDS_OF_WORDS.get(word)
    return None if kind is None else (kind, rest.rstrip("."))


def register_word(subject: str) -> str | None:
    """The word after `state.` in a register's stored subject; None where it is no register's."""
    prefix, _, rest = subject.partition(".")
    return rest.partition(".")[0] if prefix == "state" else None


def shard_register(partition: int) -> str:
    """Stored subject of a shard's register."""
    return f"state.shard.{partition}"


def due(pool: str, priority: str, partition: int, task_id: str) -> str:
    """Stored subject of work that is due."""
    return f"task.due.{pool}.{priority}.{partition}.{task_id}"


def due_fence(partition: int) -> str:
    """Stored subject of a shard's fence in `TASK_DUE`."""
    return f"due.fence._._.{partition}._"


def due_filter(partition: int) -> str:
    """Filter that reads a shard's dues and its fence in order."""
    return f"*.*.*.*.{partition}.*"


def pool_dues(pool: str, priority: str) -> str:
    """Filter for the work of one pool and priority, over all partitions."""
    return f"task.due.{pool}.{priority}.*.*"


def is_due(subject: str) -> bool:
    """Whether a stored subject of `TASK_DUE` is that of work, and not of a fence."""
    return subject.startswith("task.due.")


def live(kind: str, name: str) -> str:
    """Core subject on which an event is heard once it has been stored."""
    return f"{kind}.{name}"


def progress(task_id: str, run: str) -> str:
    """Core subject for the progress of a running handler; not stored."""
    return f"gnomon.progress.{task_id}.{run}"


def health(process: str) -> str:
    """Core subject on which one process of a kind (`scheduler`, `executor`, `api`) answers what its checks say."""
    return f"gnomon.health.{process}"


def heartbeat(task_id: str) -> str:
    """Core subject for the sign of life of a task; not stored."""
    return f"gnomon.heartbeat.{task_id}"


def run_log(partition: int, task_id: str, run: str) -> str:
    """Stored subject of the lines that the handler of an execution logs."""
    return f"logs.{partition}.{task_id}.{run}"


def live_log(task_id: str, run: str) -> str:
    """Core subject on which an execution's lines are heard once they have been stored."""
    return f"gnomon.log.{task_id}.{run}"


def device_notes(account_id: str) -> str:
    """Core subject on which a user's devices hear of results and reminders; the same as the MQTT topic
    `users/<account_id>/tasks`. The account's id is the user's in base64url."""
    return f"users.{account_id}.tasks"


def cancel_signal(task_id: str, run: str) -> str:
    """Core subject that tells a running handler to stop; not stored."""
    return f"gnomon.cancel.{task_id}.{run}"


def gate_register(kind: str, partition: int, gate: str) -> str:
    """Stored subject of a gate's register: of a pool or of a key."""
    return f"state.{kind}.{partition}.{gate}"


def gate_statements(partition: int) -> str:
    """Core subject on which the leader of a shard hears what others say to the gates that live there."""
    return f"gnomon.gate.{partition}.statements"


def gate_grants(partition: int) -> str:
    """Core subject on which the leader of a shard hears what gates grant it."""
    return f"gnomon.gate.{partition}.grants"


def budget_register(partition: int, account: str) -> str:
    """Stored subject of the register of what every shard may use of a user's credits and limits."""
    return f"state.budget.{partition}.{account}"


def usage_register(partition: int, account: str) -> str:
    """Stored subject of the register of what a user has used in a shard."""
    return f"state.usage.{partition}.{account}"


def budget_statements(partition: int) -> str:
    """Core subject on which the leader of a shard hears what others say of the accounts that live there."""
    return f"gnomon.budget.{partition}.statements"


def budget_grants(partition: int) -> str:
    """Core subject on which the leader of a shard hears what it may use of users' budgets."""
    return f"gnomon.budget.{partition}.grants"


def task_counts(partition: int) -> str:
    """Core subject on which the leader of a shard tells how many tasks a user, named in the message, has there."""
    return f"gnomon.budget.{partition}.tasks"


def leader_ping(name: str | int, epoch: int) -> str:
    """Core subject on which the holder of a lease of that epoch answers; no responders means it is gone. A shard's
    lease goes by its partition, that of a duty by the duty's name."""
    return f"gnomon.leader.{name}.{epoch}.ping"


def executor_claims(executor_id: str) -> str:
    """Core subject on which an executor answers whether it is running an execution."""
    return f"gnomon.executor.{executor_id}.claims"


class CommandSubject(NamedTuple):
    """A stored command's subject, taken apart. `partition` is None for one stored untransformed."""

    kind: str
    verb: str
    partition: int | None
    object_id: str


class EventSubject(NamedTuple):
    """A stored event's subject, taken apart."""

    kind: str
    name: str
    partition: int
    object_id: str
    run: str


class DueSubject(NamedTuple):
    """A stored due's subject, taken apart."""

    pool: str
    priority: str
    partition: int
    task_id: str


def parse_command(subject: str) -> CommandSubject:
    """Take a command's subject apart, in the stored form (6 tokens) or the published one (5).

    Raises ValueError when it is neither.
    """
    parts = subject.split(".")
    if parts[:2] == ["gnomon", "cmd"]:
        if len(parts) == 6 and parts[4].isdigit():
            return CommandSubject(parts[2], parts[3], int(parts[4]), parts[5])
        if len(parts) == 5:
            return CommandSubject(parts[2], parts[3], None, parts[4])
    raise ValueError(f"not a command subject: {subject!r}")


def parse_event(subject: str) -> EventSubject:
    """Take an event's stored subject apart. Raises ValueError when it is not one."""
    parts = subject.split(".")
    if len(parts) != 5 or not parts[2].isdigit():
        raise ValueError(f"not an event subject: {subject!r}")
    return EventSubject(parts[0], parts[1], int(parts[2]), parts[3], parts[4])


def parse_due(subject: str) -> DueSubject:
    """Take a due's stored subject apart. Raises ValueError when it is not one."""
    parts = subject.split(".")
    if len(parts) != 6 or parts[:2] != ["task", "due"] or not parts[4].isdigit():
        raise ValueError(f"not a due subject: {subject!r}")
    return DueSubject(parts[2], parts[3], int(parts[4]), parts[5])
