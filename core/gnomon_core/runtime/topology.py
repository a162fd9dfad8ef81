"""Streams and buckets: what they are, and how every process makes sure of them when it starts.

Every process applies the same topology; whoever is first creates. What exists already is compared field by
field: what may change is updated, and what may not stops the process with the name of the field, its value
and the wanted one. In particular the number of partitions: it is written into the metadata of the streams,
and a process that was started with another number stops and names both, since two processes that cut the
task space differently would each lead tasks that the other leads too.

Every stream takes its messages through the write door (`gnomon.write.<stored subject>`) and republishes what
it has *stored* under short subjects, so that nobody can hear of something that was refused.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import BusRefused, NoAnswer, NotCommitted
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.limits import MAX_PARTITIONS
from gnomon_schemas.subjects import (
    ACCOUNTS_BUCKET,
    COMMANDS_STREAM,
    DUE_STREAM,
    EVENTS_STREAM,
    LEASES_BUCKET,
    LOGS_STREAM,
    MEMBERS_BUCKET,
    TYPES_BUCKET,
)

__all__ = [
    "MINIMUM_SERVER",
    "PARTITIONS_KEY",
    "SCHEMA_VERSION",
    "Topology",
    "TopologyError",
    "TopologySettings",
    "bucket_config",
    "differences",
    "ensure_topology",
    "stream_configs",
    "topology_configs",
]

MINIMUM_SERVER = (2, 12)
"""The oldest nats-server that has atomic batches."""
SCHEMA_VERSION = 1
"""Of the layout of subjects and registers; a process refuses streams of a later one."""

PARTITIONS_KEY = "gnomon.partitions"
SCHEMA_KEY = "gnomon.schema"

_MARKER_TTL_SECONDS = 60
"""How long the broker's note that a lease or member expired stays to be seen."""
_NS = 1_000_000_000
_NAME_IN_USE = 10058
_NOT_FOUND = 10059
_NO_PEERS = 10005
_OTHER_STREAM = 10060
_LOGS_AGE_SECONDS = 72 * 3600
_LOGS_BYTES = 256 * 1024 * 1024
"""What is logged while nobody takes it into Postgres: beyond either, the oldest lines go."""
_DOOR = {"src": "gnomon.write.>", "dest": ">"}

_MAY_CHANGE = frozenset(
    {"description", "republish", "duplicate_window", "subject_delete_marker_ttl", "max_age", "max_bytes"}
)
"""Fields of a stream that a start may update on its own."""

_log = structlog.get_logger(__name__)


class TopologyError(Exception):
    """What is on the broker does not fit this process, which must not go on. The text says what and what to
    do."""


class TopologySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the topology depends on."""

    partitions: int = 8
    """Shards that the task space is cut into, 1 to 40; fixed once the streams exist."""
    replicas: int = 1
    """Copies of every stream: 1, 3 or 5, and no more than the cluster has nodes."""
    patience_seconds: float = 60.0
    """How long to wait for a JetStream that cannot serve yet, as a cluster that is starting."""


class Topology(msgspec.Struct, frozen=True):
    """What was found or made."""

    partitions: int
    replicas: int
    created: dict[str, str]
    """Creation time of each stream by its name: names these very streams."""


def stream_configs(settings: TopologySettings) -> list[dict[str, Any]]:
    """The four streams as the broker's API takes them."""
    partition = f"{{{{partition({settings.partitions},3)}}}}"
    commands = {
        "name": COMMANDS_STREAM,
        "description": "Commands, until they are decided and answered",
        "subjects": ["gnomon.cmd.*.*.*"],
        "retention": "workqueue",
        # The least there is: a caller's own retry must reach the shard and be answered, not be swallowed.
        "duplicate_window": _NS // 10,
        "subject_transform": {
            "src": "gnomon.cmd.*.*.*",
            "dest": f"gnomon.cmd.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}.{partition}.{{{{wildcard(3)}}}}",
        },
    }
    events = {
        "name": EVENTS_STREAM,
        "description": "The event log, and a register per task and per shard",
        "subjects": ["gnomon.write.*.*.*.*.*", "gnomon.write.state.*.*.*", "gnomon.write.state.shard.*"],
        "retention": "limits",
        "allow_atomic": True,
        "allow_rollup_hdrs": True,
        "deny_delete": True,
        "subject_transform": _DOOR,
        "republish": {"src": "*.*.*.*.*", "dest": "{{wildcard(1)}}.{{wildcard(2)}}"},
    }
    dues = {
        "name": DUE_STREAM,
        "description": "Executions that are due and unfinished, and a fence per shard",
        "subjects": ["gnomon.write.task.due.*.*.*.*", "gnomon.write.due.fence._._.*._"],
        "retention": "workqueue",
        "allow_atomic": True,
        "allow_rollup_hdrs": True,
        "subject_transform": _DOOR,
        "republish": {"src": "task.due.*.*.*.*", "dest": "task.due"},
    }
    logs = {
        "name": LOGS_STREAM,
        "description": "What handlers log, until it is in Postgres",
        "subjects": ["gnomon.write.logs.*.*.*"],
        "retention": "limits",
        "discard": "old",
        "max_age": _LOGS_AGE_SECONDS * _NS,
        "max_bytes": _LOGS_BYTES,
        "subject_transform": _DOOR,
        "republish": {"src": "logs.*.*.*", "dest": "gnomon.log.{{wildcard(2)}}.{{wildcard(3)}}"},
    }
    return [_completed(stream, settings) for stream in (commands, events, dues, logs)]


def bucket_config(name: str, settings: TopologySettings, *, expiring: bool) -> dict[str, Any]:
    """A key-value bucket as a stream of the broker's API. `expiring`: each key may have a TTL of its own."""
    bucket = {
        "name": f"KV_{name}",
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "max_msgs_per_subject": 1,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "deny_delete": True,
    }
    if expiring:
        bucket |= {"allow_msg_ttl": True, "subject_delete_marker_ttl": _MARKER_TTL_SECONDS * _NS}
    return _completed(bucket, settings)


def _completed(config: dict[str, Any], settings: TopologySettings) -> dict[str, Any]:
    metadata = {PARTITIONS_KEY: str(settings.partitions), SCHEMA_KEY: str(SCHEMA_VERSION)}
    common = {"storage": "file", "num_replicas": settings.replicas, "allow_direct": True}
    return config | common | {"metadata": metadata}


def topology_configs(settings: TopologySettings) -> list[dict[str, Any]]:
    """Every stream, those of the buckets included, as the broker's API takes them."""
    buckets = [
        bucket_config(LEASES_BUCKET, settings, expiring=True),
        bucket_config(MEMBERS_BUCKET, settings, expiring=True),
        bucket_config(TYPES_BUCKET, settings, expiring=False),
        bucket_config(ACCOUNTS_BUCKET, settings, expiring=False),
    ]
    return stream_configs(settings) + buckets


async def ensure_topology(bus: Bus, settings: TopologySettings) -> Topology:
    """Create or update every stream and bucket; processes that start at the same time do not disturb each
    other.

    Raises TopologyError when the server is too old, has no JetStream, cannot serve within
    `patience_seconds`, or has streams that do not fit.
    """
    if not 1 <= settings.partitions <= MAX_PARTITIONS:
        raise TopologyError(f"partitions={settings.partitions}: 1 to {MAX_PARTITIONS} are allowed")
    _check_server(bus)
    configs = topology_configs(settings)
    created: dict[str, str] = {}
    try:
        async with asyncio.timeout(settings.patience_seconds):
            # All that exists is checked before anything is made: a process with another number of partitions
            # must not leave streams behind.
            for config in configs:
                found = await _info(bus, config["name"])
                if found is not None:
                    _check_identity(config["name"], found["config"], settings)
            for config in configs:
                created[config["name"]] = await _ensure(bus, config, settings)
            for config in configs:
                await _listening(bus, config)
    except TimeoutError:
        raise TopologyError(
            f"JetStream did not serve within {settings.patience_seconds:g} s: is it enabled, and are enough "
            f"nodes of the cluster up for {settings.replicas} replica(s)?"
        ) from None
    return Topology(settings.partitions, settings.replicas, created)


def _check_server(bus: Bus) -> None:
    version = bus.server_version
    if version < MINIMUM_SERVER:
        needed = ".".join(map(str, MINIMUM_SERVER))
        raise TopologyError(
            f"nats-server {'.'.join(map(str, version))} is too old: Gnomon needs {needed} or newer "
            "(for atomic batches)"
        )


async def _ensure(bus: Bus, wanted: dict[str, Any], settings: TopologySettings) -> str:
    """Create or update one stream; its creation time."""
    name = wanted["name"]
    found = await _info(bus, name)
    if found is None:
        found = await _create(bus, wanted)
    if found is None:  # somebody else created it, with another configuration, between the two requests
        found = await _info(bus, name)
    if found is None:
        raise TopologyError(f"stream {name} was removed while it was being set up")
    _check_identity(name, found["config"], settings)
    changes = _changes(name, found["config"], wanted)
    if changes:
        await _call(bus, f"STREAM.UPDATE.{name}", found["config"] | changes, name)
        _log.info(LogEvent.TOPOLOGY_CHANGED, stream=name, action="updated", fields=sorted(changes))
    return str(found["created"])


def _check_identity(name: str, config: dict[str, Any], settings: TopologySettings) -> None:
    """Raise TopologyError when the stream belongs to another set-up: other partitions, or a later layout."""
    metadata = config.get("metadata") or {}
    partitions, schema = metadata.get(PARTITIONS_KEY), metadata.get(SCHEMA_KEY)
    if partitions is None or schema is None:
        raise TopologyError(f"stream {name} is not Gnomon's: its metadata has no {PARTITIONS_KEY}")
    if partitions != str(settings.partitions):
        raise TopologyError(
            f"stream {name} has {partitions} partitions and this process was started with "
            f"GNOMON_PARTITIONS={settings.partitions}: start it with {partitions}"
        )
    if int(schema) > SCHEMA_VERSION:
        raise TopologyError(
            f"stream {name} has schema version {schema} and this process knows {SCHEMA_VERSION}: upgrade it"
        )


def _changes(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The fields to update. Raises TopologyError for one that differs and must not change."""
    changes: dict[str, Any] = {}
    for field, value in wanted.items():
        present = found.get(field)
        if field == "metadata":
            merged = (present or {}) | value
            if merged != present:
                changes[field] = merged
        elif field == "subjects":
            # A newer version may have added subjects; an older one that starts beside it leaves them.
            missing = [subject for subject in value if subject not in (present or [])]
            if missing:
                changes[field] = [*(present or []), *missing]
        elif not _same(present, value):
            if field not in _MAY_CHANGE:
                raise TopologyError(f"stream {name}: {field} is {present!r} and should be {value!r}")
            changes[field] = value
    return changes


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Where a stream's configuration is not as the topology wants it: (what is, what should be) by field.

    What a later version may have added is no difference.
    """
    told: dict[str, tuple[Any, Any]] = {}
    for field, value in wanted.items():
        present = found.get(field)
        if field == "metadata":
            same = value.items() <= (present or {}).items()
        elif field == "subjects":
            same = set(value) <= set(present or ())
        else:
            same = _same(present, value)
        if not same:
            told[field] = (present, value)
    return told


def _same(present: Any, wanted: Any) -> bool:
    """Whether a field is as wanted: the broker leaves out what is false, and fills in parts of nested
    ones."""
    if isinstance(wanted, dict):
        return isinstance(present, dict) and all(present.get(key) == value for key, value in wanted.items())
    return bool(present == wanted) or (not present and not wanted)


async def _info(bus: Bus, name: str) -> dict[str, Any] | None:
    try:
        return await _call(bus, f"STREAM.INFO.{name}", None, name)
    except BusRefused as refusal:
        if refusal.err_code == _NOT_FOUND:
            return None
        raise


async def _create(bus: Bus, config: dict[str, Any]) -> dict[str, Any] | None:
    """Create a stream; None when there is one of that name that differs."""
    name = config["name"]
    try:
        answer = await _call(bus, f"STREAM.CREATE.{name}", config, name)
    except BusRefused as refusal:
        if refusal.err_code == _NAME_IN_USE:
            return None
        raise TopologyError(f"stream {name} cannot be created: {refusal}") from refusal
    _log.info(LogEvent.TOPOLOGY_CHANGED, stream=name, action="created", fields=[])
    return answer


async def _listening(bus: Bus, config: dict[str, Any]) -> None:
    """Wait until publishes reach the stream: in a cluster, its leader may not be chosen or not be known
    everywhere.

    Asked by a publish that can only be refused, since it demands to be stored in a stream of another name.
    """
    subject = config["subjects"][0].replace("*", "_").replace(">", "_")
    backoff = Backoff(first=0.02, longest=0.5)
    while True:
        try:
            _ = await bus.publish(subject, b"", {"Nats-Expected-Stream": "_"})
        except (NotCommitted, NoAnswer) as reason:
            _log.debug(LogEvent.TOPOLOGY_WAITING, stream=config["name"], reason=str(reason))
        except BusRefused as refusal:
            if refusal.err_code == _OTHER_STREAM:
                return
            raise
        await backoff.pause()


async def _call(bus: Bus, verb: str, request: Any, stream: str) -> dict[str, Any]:
    """A request that waits for a JetStream which is not ready yet; the caller bounds the wait."""
    backoff = Backoff(first=0.1, longest=1.0)
    while True:
        try:
            return await bus.api(verb, request, timeout=10.0)
        except NoAnswer as reason:
            waiting_for = str(reason)
        except BusRefused as refusal:
            if refusal.err_code != _NO_PEERS:
                raise
            waiting_for = str(refusal)
        _log.info(LogEvent.TOPOLOGY_WAITING, stream=stream, reason=waiting_for)
        await backoff.pause()
