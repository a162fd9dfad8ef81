"""Every subject of the contract: its address, what its parameters are, what goes over it, who sends it to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from gnomon_schemas import subjects
from gnomon_schemas.commands import SHARD_VERBS, TASK_VERBS
from gnomon_schemas.documents.field_rules import RUN_PATTERN
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.limits import ID_PATTERN
from gnomon_schemas.object_kinds import OBJECT_KINDS

__all__ = ["CHANNELS", "PARAMETERS", "UNDOCUMENTED", "Channel", "Parameter"]


class Parameter(NamedTuple):
    """One part of an address that varies."""

    words: str
    pattern: str | None = None
    enum: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


class Channel(NamedTuple):
    """One subject, or one family of subjects."""

    name: str
    address: str
    message: str
    """Name of the message that goes over it."""
    words: str
    action: Literal["receive", "send"]
    """What Gnomon does there: it receives commands and sends events."""
    stream: str | None = None
    """The stream that keeps the messages; None: core NATS, whoever listens hears."""
    live_of: str | None = None
    """Name of the channel whose stored messages are heard here."""
    reply: str | None = None
    """Name of the message that answers."""
    internal: bool = False
    """Between Gnomon's own processes."""


PARAMETERS: Final[Mapping[str, Parameter]] = {
    "task_id": Parameter("Id of the task.", ID_PATTERN, examples=("nightly-report",)),
    "partition": Parameter(
        "The task's partition: FNV-1a 32 of its id, modulo the number of partitions. Filters leave it open (`*`).",
        r"^\d{1,2}$",
        examples=("3",),
    ),
    "run": Parameter(
        "`_` for events of the task itself; the slot's nominal UTC time for a fire; `r-<command id>` on demand.",
        f"{RUN_PATTERN}|^_$",
        examples=("20261121T090000Z", "r-c6", "_"),
    ),
    "shard_id": Parameter(
        "Stands for a shard: `shard-<partition>-<k>`, with the smallest `k` whose partition is that one.",
        ID_PATTERN,
        examples=("shard-3-0",),
    ),
    **{
        messages.id_field: Parameter(messages.id_words, messages.id_pattern, examples=(messages.id_example,))
        for messages in OBJECT_KINDS.values()
    },
    "pool": Parameter("Which executors run it.", ID_PATTERN, examples=("default",)),
    "priority": Parameter("Lane within the pool, first to last.", enum=subjects.PRIORITIES),
    "account_id": Parameter("The user's id in base64url, without padding.", examples=("dTE",)),
    "executor": Parameter("Id of the executor.", examples=("e-1",)),
    "kind": Parameter("Kind of process.", enum=("scheduler", "executor", "api")),
    "member": Parameter("Id of the process.", examples=("s-1",)),
    "task_type": Parameter("Name of the task type.", ID_PATTERN, examples=("http_request",)),
    "inbox": Parameter("Made by whoever asks, for itself alone.", examples=("tMvXWjzpCkkVA0BdNCpWSP",)),
}
"""The parts of addresses, by name."""


def _command_channels() -> list[Channel]:
    words = {
        "create": "Creates a task under the id in the subject.",
        "update": "Changes a task.",
        "pause": "Lets no slot fire until the task is resumed.",
        "resume": "Lets a paused task fire again.",
        "cancel": "Ends a task and what it has in flight.",
        "complete": "Ends a task as done; what it has in flight goes on.",
        "delete": "Deletes a task; its history stays.",
        "run": "Runs a task now.",
        "backfill": "Runs slots of the past, or stops doing so.",
        "cancel_execution": "Ends one execution, waiting or running.",
        "retry_execution": "Runs an execution that has ended once more.",
        "repair": "Gives slots of which an audit found nothing recorded to the task's catch-up policy.",
    }
    shard_words = {
        "approve_catch_up": "Lets the late slots of a shard run that wait for that.",
        "discard_catch_up": "Lets none of the late slots run that a shard has waiting.",
    }
    return [
        Channel(
            f"command_{verb}",
            subjects.command("task", verb, "{task_id}"),
            f"command.{verb}",
            words[verb],
            "receive",
            stream=subjects.COMMANDS_STREAM,
            reply="outcome",
        )
        for verb in TASK_VERBS
    ] + [
        Channel(
            "command_pool_update",
            subjects.command("pool", "update", "{pool}"),
            "command.pool.update",
            "Sets how much of a pool may be in flight, and whether anything of it is handed out.",
            "receive",
            stream=subjects.COMMANDS_STREAM,
            reply="outcome",
        ),
        *(
            Channel(
                f"command_{kind}_{verb}",
                subjects.command(kind, verb, f"{{{messages.id_field}}}"),
                f"command.{kind}.{verb}",
                one.words,
                "receive",
                stream=subjects.COMMANDS_STREAM,
                reply="outcome",
            )
            for kind, messages in OBJECT_KINDS.items()
            for verb, one in messages.verbs.items()
        ),
        *(
            Channel(
                f"command_shard_{verb}",
                subjects.command("shard", verb, "{shard_id}"),
                f"command.shard.{verb}",
                shard_words[verb],
                "receive",
                stream=subjects.COMMANDS_STREAM,
                reply="outcome",
            )
            for verb in SHARD_VERBS
        ),
    ]


def _event_channels() -> list[Channel]:
    stored = [
        Channel(
            f"stored_{name}",
            f"task.{name}.{{partition}}.{{task_id}}.{{run}}",
            f"task.{name}",
            f"`task.{name}`, kept in the log: read it with a JetStream consumer, filtered by event, task or run.",
            "send",
            stream=subjects.EVENTS_STREAM,
        )
        for name in EVENT_TYPES
    ]
    live = [
        Channel(
            f"live_{name}",
            subjects.live("task", name),
            f"task.{name}",
            f"`task.{name}` as it is stored, for whoever listens at that moment. `SUB task.*` hears all.",
            "send",
            live_of=f"stored_{name}",
        )
        for name in EVENT_TYPES
    ]
    pool = [
        Channel(
            "stored_pool_updated",
            "pool.updated.{partition}.{pool}._",
            "pool.updated",
            "A pool was changed, kept in the log.",
            "send",
            stream=subjects.EVENTS_STREAM,
        ),
        Channel(
            "live_pool_updated",
            subjects.live("pool", "updated"),
            "pool.updated",
            "A pool was changed, as it is stored.",
            "send",
            live_of="stored_pool_updated",
        ),
    ]
    objects = [
        channel
        for kind, messages in OBJECT_KINDS.items()
        for name in messages.events
        for channel in (
            Channel(
                f"stored_{kind}_{name}",
                f"{kind}.{name}.{{partition}}.{{{messages.id_field}}}._",
                f"{kind}.{name}",
                f"`{kind}.{name}`, kept in the log.",
                "send",
                stream=subjects.EVENTS_STREAM,
            ),
            Channel(
                f"live_{kind}_{name}",
                subjects.live(kind, name),
                f"{kind}.{name}",
                f"`{kind}.{name}` as it is stored.",
                "send",
                live_of=f"stored_{kind}_{name}",
            ),
        )
    ]
    return [*stored, *live, *pool, *objects]


def _kv(bucket: str, key: str) -> str:
    return f"$KV.{bucket}.{key}"


CHANNELS: Final[tuple[Channel, ...]] = (
    *_command_channels(),
    Channel(
        "outcome",
        "_INBOX.{inbox}",
        "outcome",
        "The answer to a command, where it named this address.",
        "send",
    ),
    *_event_channels(),
    Channel(
        "due",
        "task.due.{pool}.{priority}.{partition}.{task_id}",
        "task.due",
        "Work: one execution that an executor should run now.",
        "send",
        stream=subjects.DUE_STREAM,
    ),
    Channel(
        "live_due", subjects.live("task", "due"), "task.due", "Work as it becomes due.", "send", live_of="due"
    ),
    Channel(
        "progress",
        subjects.progress("{task_id}", "{run}"),
        "progress",
        "Progress of a running handler; not stored.",
        "send",
    ),
    Channel(
        "heartbeat",
        subjects.heartbeat("{task_id}"),
        "heartbeat",
        "Sign of life of a task with a `heartbeat`, while its ledger is in order and its slots succeed; not stored.",
        "send",
    ),
    Channel(
        "stored_run_log",
        subjects.run_log(0, "{task_id}", "{run}").replace("0", "{partition}"),
        "run_log_lines",
        "What the handler of an execution logs, until it is in Postgres.",
        "send",
        stream=subjects.LOGS_STREAM,
    ),
    Channel(
        "live_run_log",
        subjects.live_log("{task_id}", "{run}"),
        "run_log_lines",
        "What the handler of an execution logs, as it is stored. `SUB gnomon.log.T.*` hears all runs of task `T`.",
        "send",
        live_of="stored_run_log",
    ),
    Channel(
        "device_notes",
        "users.{account_id}.tasks",
        "device_note",
        "Results and reminders of a user's tasks, for the user's devices: the MQTT topic "
        "`users/{account_id}/tasks` of nats-server. Not stored, and at least once while somebody listens.",
        "send",
    ),
    Channel(
        "cancel_signal",
        subjects.cancel_signal("{task_id}", "{run}"),
        "cancel_signal",
        "Tells a running handler to stop; not stored, and repeated until its effect is seen. To cancel an execution, "
        "send the command `cancel_execution`.",
        "send",
    ),
    Channel(
        "due_fence",
        "due.fence._._.{partition}._",
        "due_fence",
        "Who may emit a shard's dues: each leader rolls it up.",
        "send",
        stream=subjects.DUE_STREAM,
        internal=True,
    ),
    Channel(
        "claims",
        subjects.executor_claims("{executor}"),
        "claim_question",
        "Asks an executor whether it runs an attempt.",
        "receive",
        reply="claim_answer",
        internal=True,
    ),
    Channel(
        "gate_statements",
        subjects.gate_statements(0).replace("0", "{partition}"),
        "gate_statements",
        "What a shard uses and wants of pools and keys, said to the shard where their gates live.",
        "send",
        internal=True,
    ),
    Channel(
        "budget_statements",
        subjects.budget_statements(0).replace("0", "{partition}"),
        "budget_statements",
        "What a shard uses and wants of users' credits and limits, said to the shard of their accounts.",
        "send",
        internal=True,
    ),
    Channel(
        "budget_grants",
        subjects.budget_grants(0).replace("0", "{partition}"),
        "budget_grants",
        "What a shard may use of users' credits and limits.",
        "send",
        internal=True,
    ),
    Channel(
        "task_counts",
        subjects.task_counts(0).replace("0", "{partition}"),
        "task_count_question",
        "How many tasks a user has in a shard, asked before one more is made.",
        "receive",
        reply="task_count",
        internal=True,
    ),
    Channel(
        "gate_grants",
        subjects.gate_grants(0).replace("0", "{partition}"),
        "gate_grants",
        "What gates let a shard use of pools and keys.",
        "send",
        internal=True,
    ),
    Channel(
        "scheduler_status",
        subjects.SCHEDULER_STATUS,
        "scheduler_status",
        "Every scheduler answers a request (of any payload) here with the shards it leads.",
        "send",
        internal=True,
    ),
    Channel(
        "leases",
        _kv(subjects.LEASES_BUCKET, "shard.{partition}"),
        "lease",
        "Who should lead a shard. Duties that one process does for all have a key of their own.",
        "send",
        stream=f"KV_{subjects.LEASES_BUCKET}",
        internal=True,
    ),
    Channel(
        "members",
        _kv(subjects.MEMBERS_BUCKET, "{kind}.{member}"),
        "member",
        "Every live process, renewed by itself.",
        "send",
        stream=f"KV_{subjects.MEMBERS_BUCKET}",
        internal=True,
    ),
    Channel(
        "task_types",
        _kv(subjects.TYPES_BUCKET, "{task_type}"),
        "type_announcement",
        "Every task type that executors have announced.",
        "send",
        stream=f"KV_{subjects.TYPES_BUCKET}",
        internal=True,
    ),
    Channel(
        "projector_position",
        _kv(subjects.ACCOUNTS_BUCKET, subjects.PROJECTOR_KEY),
        "projector_position",
        "How far the read models are.",
        "send",
        stream=f"KV_{subjects.ACCOUNTS_BUCKET}",
        internal=True,
    ),
    Channel(
        "purge_floor",
        _kv(subjects.ACCOUNTS_BUCKET, subjects.PURGE_FLOOR_KEY),
        "purge_floor",
        "Up to where old events may have been purged.",
        "send",
        stream=f"KV_{subjects.ACCOUNTS_BUCKET}",
        internal=True,
    ),
)
"""In the order in which documents show them."""

UNDOCUMENTED: Final[Mapping[str, str]] = {
    f"{subjects.WRITE_DOOR}>": "The services' own door into the streams: they publish here, and each stream takes the "
    "prefix off. Permissions keep everyone else out.",
    "state.task.<p>.<task_id>": "In `TASKS`: a task's register, its newest state. The scheduler's own.",
    "state.shard.<p>": "In `TASKS`: a shard's register. The scheduler's own.",
    "state.calendar.<p>.<name>": "In `TASKS`: rules of a zone, or holidays of a place, by which a shard makes its "
    "slots. The scheduler's own.",
    "state.pool.<p>.<pool>": "In `TASKS`: what is set of a pool, and which shard holds how many of its units.",
    "state.template.<p>.<template_id>": "In `TASKS`: a template's register. The scheduler's own.",
    "state.blackout.<p>.<calendar_id>": "In `TASKS`: the register of a calendar of blackouts. The scheduler's own.",
    "state.budget.<p>.<account_id>": "In `TASKS`: what each shard may use of a user's credits and limits. The "
    "scheduler's own.",
    "state.usage.<p>.<account_id>": "In `TASKS`: what a user has used in a shard. The scheduler's own.",
    "state.account.<p>.<account_id>": "In `TASKS`: what is set of an account. The scheduler's own.",
    "state.key.<p>.<digest>": "In `TASKS`: which shard holds how many units of a concurrency key in use.",
    "$SRV.PING, $SRV.INFO, $SRV.STATS": "The NATS services protocol: every process answers, as `gnomon-scheduler`, "
    "`gnomon-executor` or `gnomon-api`, and tells its id, host and, of an api, its address.",
    "gnomon.health.<kind>": "Answered by one process of the kind with what its readiness checks say.",
    "gnomon.leader.<p>.<epoch>.ping": "Answered, without content, by the leader of that epoch; no responders "
    "means that it is gone.",
}
"""Subjects whose payloads are nobody else's, with what they are."""
