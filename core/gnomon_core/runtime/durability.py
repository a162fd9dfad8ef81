"""What an acknowledged write is worth here: read from the streams and servers, stated at start, and demanded.

A write that JetStream has acknowledged may be in the memory of a server, handed to its system, on its disk, or on
several servers. Which of these it is depends on the streams (storage, copies, what they discard) and on each server
(how often it calls fsync). The first the broker tells its clients; the second only its monitoring port does
(`GNOMON_NATS_MONITOR`). What is not told counts as unknown, never as well.

    memory              nothing is demanded
    written             survives the kill of nats-server: every stream is in files and discards nothing by itself
    fsync               survives a power cut: the same, and every server writes to disk before it acknowledges
    replicated          survives the loss of a server with its disk: written, and three copies at least
    replicated_fsync    both

A process whose `GNOMON_REQUIRE_DURABILITY` is not met does not start: it would take writes under a promise that
nobody keeps.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
import structlog

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.settings import CommonSettings, format_duration
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.topology import TopologyError
from gnomon_schemas.subjects import COMMANDS_STREAM, DUE_STREAM, EVENTS_STREAM

__all__ = [
    "STATED",
    "Demand",
    "Durability",
    "DurabilityError",
    "Sync",
    "durability_of",
    "read_sync",
    "state_durability",
]

STATED: Final = (COMMANDS_STREAM, EVENTS_STREAM, DUE_STREAM)
"""Streams whose messages are promises: what callers were told is done, what is recorded, what is to be done."""

_log = structlog.get_logger(__name__)
_MONITOR_SECONDS: Final = 3.0
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""A monitoring port is no site of the internet: no proxy of the environment stands before it."""
_COPIES: Final = 3
_NS: Final = 1e9
_BOUNDS: Final = ("max_age", "max_bytes", "max_msgs", "max_msgs_per_subject")
"""Settings by which a stream discards what it has acknowledged; none of Gnomon's has one."""


class DurabilityError(TopologyError):
    """What is demanded of acknowledged writes is not kept here. The text says what lacks and what to do."""


class Demand(StrEnum):
    """What an acknowledged write must survive; see above."""

    MEMORY = "memory"
    WRITTEN = "written"
    FSYNC = "fsync"
    REPLICATED = "replicated"
    REPLICATED_FSYNC = "replicated_fsync"

    @property
    def needs_fsync(self) -> bool:
        """Whether it must be on disk when it is acknowledged."""
        return self in {Demand.FSYNC, Demand.REPLICATED_FSYNC}

    @property
    def needs_copies(self) -> bool:
        """Whether it must be on several servers."""
        return self in {Demand.REPLICATED, Demand.REPLICATED_FSYNC}


class Sync(msgspec.Struct, frozen=True, kw_only=True):
    """How one server, or several, write to disk, by their own account."""

    servers: int = 0
    """How many told."""
    always: bool = False
    """Each of them before it acknowledges."""
    interval_seconds: float = 0.0
    """The longest time between two writes to disk, where not."""
    trouble: str = ""
    """Why nothing, or not all, was told."""


class Durability(msgspec.Struct, frozen=True, kw_only=True):
    """What was read."""

    copies: int
    """Fewest of any stream."""
    in_memory: tuple[str, ...]
    """Streams that are kept in memory alone."""
    not_flushed: tuple[str, ...]
    """Streams that are acknowledged before they are written to the file at all (`persist_mode: async`)."""
    discarding: tuple[str, ...]
    """Streams that discard what they have acknowledged, each with the setting that makes it."""
    sync: Sync

    @property
    def synced(self) -> bool | None:
        """Whether every acknowledged write is on disk; None: not known of every server."""
        if self.in_memory or self.not_flushed:
            return False
        if self.sync.servers and not self.sync.always:
            return False
        return True if self.sync.servers >= self.copies else None

    @property
    def words(self) -> str:
        """One line: what an acknowledgement means."""
        if self.in_memory or self.not_flushed:
            return f"acknowledged means in the memory of {self._where}"
        if self.synced:
            return f"acknowledged means on disk on {self._where}"
        if self.synced is None:
            return (
                f"acknowledged means handed to the system of {self._where}; when it is on disk is not known"
            )
        every = format_duration(round(self.sync.interval_seconds, 3))
        return f"acknowledged means handed to the system of {self._where}, which is written to disk every {every}"

    @property
    def _where(self) -> str:
        if self.copies == 1:
            return "1 node"
        return f"{self.copies // 2 + 1} of {self.copies} nodes"

    def lacks(self, demand: Demand) -> list[str]:
        """What is not as demanded, each with what to do; empty: all is."""
        if demand is Demand.MEMORY:
            return []
        faults = [f"{name} is kept in memory: make it anew with storage file" for name in self.in_memory]
        faults += [
            f"{name} is acknowledged before it is written: set its persist_mode to default"
            for name in self.not_flushed
        ]
        faults += [f"{what}: take that limit off with `nats stream edit`" for what in self.discarding]
        if demand.needs_copies and self.copies < _COPIES:
            faults.append(
                f"streams have {self.copies} copies and {_COPIES} are demanded: set GNOMON_REPLICAS={_COPIES} on a "
                f"cluster of {_COPIES} nodes, before the streams are made, or `nats stream edit --replicas {_COPIES}`"
            )
        if demand.needs_fsync and not (self.in_memory or self.not_flushed):
            faults += self._unsynced()
        return faults

    def _unsynced(self) -> list[str]:
        if self.synced:
            return []
        do = "set `sync_interval: always` in the jetstream block of nats-server, and restart it"
        if self.synced is False:
            return [f"nats-server writes to disk every {self.sync.interval_seconds:g} s: {do}"]
        told = self.sync.trouble or f"{self.sync.servers} of {self.copies} servers told"
        return [
            f"whether nats-server writes to disk before it acknowledges is not known ({told}): set "
            "GNOMON_NATS_MONITOR to its monitoring port, as http://HOST:8222, one a node with commas"
        ]


def durability_of(streams: Mapping[str, Mapping[str, Any]], sync: Sync) -> Durability:
    """What the configurations of the streams that hold work and its log come to, by name."""
    return Durability(
        copies=min((int(config.get("num_replicas") or 1) for config in streams.values()), default=1),
        in_memory=tuple(name for name, config in streams.items() if config.get("storage") == "memory"),
        not_flushed=tuple(name for name, config in streams.items() if config.get("persist_mode") == "async"),
        discarding=tuple(
            f"{name} has {bound}={config[bound]}"
            for name, config in streams.items()
            for bound in _BOUNDS
            if int(config.get(bound) or 0) > 0
        ),
        sync=sync,
    )


async def state_durability(bus: Bus, settings: CommonSettings) -> Durability:
    """Say in one line of the log what an acknowledged write is worth here.

    Raises DurabilityError where `settings.require_durability` is not met; BusError.
    """
    demand = Demand(settings.require_durability)
    infos = await asyncio.gather(*(bus.api(f"STREAM.INFO.{name}") for name in STATED))
    configs = {name: info["config"] for name, info in zip(STATED, infos, strict=True)}
    sync = await asyncio.to_thread(read_sync, settings.nats_monitor)
    found = durability_of(configs, sync)
    lacking = found.lacks(demand)
    if lacking:
        raise DurabilityError(f"GNOMON_REQUIRE_DURABILITY={demand} is not met: {'; '.join(lacking)}")
    _log.info(
        LogEvent.DURABILITY,
        meaning=found.words,
        required=str(demand),
        copies=found.copies,
        event_ttl=format_duration(settings.event_ttl),
        **({"unknown": sync.trouble} if found.synced is None and sync.trouble else {}),
    )
    return found


def read_sync(monitors: Sequence[str]) -> Sync:
    """Ask the monitoring ports of some servers how they write to disk. What cannot be asked is told, not raised."""
    servers: set[str] = set()
    intervals: list[float] = []
    trouble = "" if monitors else "GNOMON_NATS_MONITOR is not set"
    for monitor in monitors:
        url = f"{monitor.rstrip('/')}/jsz?config=true"
        try:
            with _direct.open(url, timeout=_MONITOR_SECONDS) as answer:
                told = msgspec.json.decode(answer.read(), type=dict[str, Any])
        except (OSError, ValueError, urllib.error.URLError, msgspec.MsgspecError) as error:
            trouble = f"{url}: {error}"
            continue
        config = told.get("config")
        if not config:
            trouble = f"{url}: that server has no JetStream"
            continue
        servers.add(str(told.get("server_id")))
        intervals.append(0.0 if config.get("sync_always") else config.get("sync_interval", 0) / _NS)
    return Sync(
        servers=len(servers),
        always=bool(intervals) and not any(intervals),
        interval_seconds=max(intervals, default=0.0),
        trouble=trouble,
    )
