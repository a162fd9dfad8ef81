"""NATS: its version, its clock, the streams and buckets, how safely they are kept, room on its disk."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from gnomon_cli.doctor.chart import Chart
from gnomon_cli.doctor.findings import Finding, fail, ok, unknown, warn
from gnomon_cli.up.run_file import RunFile
from gnomon_core.runtime.clock import CLOCK_TOLERANCE_MS
from gnomon_core.runtime.topology import (
    MINIMUM_SERVER,
    PARTITIONS_KEY,
    TopologySettings,
    differences,
    topology_configs,
)
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["check_nats"]

_WARN_OFFSET_MS: Final = 500
_FULL_WARN, _FULL_FAIL = 0.8, 0.95
_MONITOR_SECONDS: Final = 3.0


def check_nats(
    chart: Chart, run_file: RunFile | None, folder: Path, monitor: str | None
) -> Iterator[Finding]:
    """All findings about NATS itself."""
    yield _version(chart)
    yield _clock(chart)
    yield from _streams(chart)
    yield from _replicas(chart, own_machine=run_file is not None)
    yield _durability(run_file, monitor)
    yield _room(chart)
    if run_file is not None:
        yield _disk(folder)


def _version(chart: Chart) -> Finding:
    found, needed = _dotted(chart.server_version), _dotted(MINIMUM_SERVER)
    if chart.server_version < MINIMUM_SERVER:
        return fail(
            "nats.version",
            f"nats-server {found}",
            f"upgrade it to {needed} or newer: it has no atomic batches",
        )
    return ok("nats.version", f"nats-server {found}; {needed} or newer is needed")


def _clock(chart: Chart) -> Finding:
    off = abs(chart.offset_ms) - chart.round_trip_ms
    saw = (
        f"this machine is {chart.offset_ms:+} ms from the broker, with an answer in {chart.round_trip_ms} ms"
    )
    if off > CLOCK_TOLERANCE_MS:
        return fail(
            "clock.broker",
            saw,
            "set the clocks by NTP on both: a process that is this far off leads and claims nothing",
        )
    if off > _WARN_OFFSET_MS:
        return warn("clock.broker", saw, "set the clocks by NTP on both: tasks run early or late by so much")
    return ok("clock.broker", saw)


def _streams(chart: Chart) -> Iterator[Finding]:
    events = chart.streams.get(EVENTS_STREAM)
    missing = sorted(name for name, info in chart.streams.items() if info is None)
    if missing:
        yield fail(
            "streams.exist",
            f"missing: {', '.join(missing)}",
            "start a scheduler, an executor or an api: each makes what is missing. If they existed before, "
            "restore JetStream's data",
        )
    if events is None:
        return
    settings, trouble = _settings_of(events)
    if settings is None:
        yield fail(
            "streams.config",
            f"{EVENTS_STREAM}: {trouble}",
            "another program owns a stream of this name: use a NATS account of its own for Gnomon",
        )
        return
    altered = []
    for wanted in topology_configs(settings):
        info = chart.streams.get(wanted["name"])
        if info is not None:
            altered += [
                f"{wanted['name']}: {field} is {was!r} and should be {should!r}"
                for field, (was, should) in differences(info["config"], wanted).items()
                if field != "num_replicas"
            ]
    if altered:
        yield fail(
            "streams.config",
            "; ".join(altered),
            "set it back with `nats stream edit`; what may change by itself is mended by restarting one process",
        )
    elif not missing:
        yield ok(
            "streams.config",
            f"{len(chart.streams)} streams as they should be, {settings.partitions} partitions",
        )


def _settings_of(events: dict[str, Any]) -> tuple[TopologySettings | None, str]:
    partitions = (events["config"].get("metadata") or {}).get(PARTITIONS_KEY)
    if partitions is None or not str(partitions).isdigit():
        return None, f"its metadata has no {PARTITIONS_KEY}"
    return TopologySettings(partitions=int(partitions), replicas=int(events["config"]["num_replicas"])), ""


def _replicas(chart: Chart, *, own_machine: bool) -> Iterator[Finding]:
    copies = {
        name: int(info["config"]["num_replicas"]) for name, info in chart.streams.items() if info is not None
    }
    if not copies:
        return
    least, most = min(copies.values()), max(copies.values())
    behind = [
        f"{name}: {replica['name']} {'is offline' if replica.get('offline') else 'lags'}"
        for name, info in chart.streams.items()
        if info is not None
        for replica in (info.get("cluster") or {}).get("replicas") or ()
        if replica.get("offline") or not replica.get("current")
    ]
    if behind:
        yield warn(
            "streams.replicas",
            "; ".join(behind),
            "look after that node: with one more gone, nothing is stored",
        )
    elif least != most:
        fewest = sorted(name for name, count in copies.items() if count == least)
        yield warn(
            "streams.replicas",
            f"between {least} and {most} copies; fewest of {', '.join(fewest)}",
            f"`nats stream edit --replicas {most}` for those",
        )
    elif least == 1 and not own_machine:
        yield warn(
            "streams.replicas",
            "one copy of each stream (R1): with that node's disk, tasks and their history are lost",
            "run three nodes and set GNOMON_REPLICAS=3 before the streams are made, or `nats stream edit --replicas 3`",
        )
    else:
        yield ok("streams.replicas", f"{least} {'copy' if least == 1 else 'copies'} of each stream")


def _durability(run_file: RunFile | None, monitor: str | None) -> Finding:
    """Whether acknowledged means on disk: clients are not told, so the monitoring port or the run file has to say."""
    do = (
        "set `sync_interval: always` in nats-server's jetstream block (and restart it): else a power cut loses "
        "acknowledged writes"
    )
    if monitor is not None:
        url = f"{monitor.rstrip('/')}/jsz?config=true"
        try:
            with urllib.request.urlopen(url, timeout=_MONITOR_SECONDS) as answer:
                config = msgspec.json.decode(answer.read()).get("config") or {}
        except (OSError, ValueError, urllib.error.URLError, msgspec.DecodeError) as error:
            return unknown(
                "nats.durability",
                f"{url}: {error}",
                "give the address of nats-server's monitoring port as --monitor",
            )
        if config.get("sync_always"):
            return ok("nats.durability", "every acknowledged write is on disk")
        seconds = config.get("sync_interval", 0) / 1e9
        return warn("nats.durability", f"written to disk every {seconds:g} s", do)
    if run_file is None:
        return unknown(
            "nats.durability",
            "NATS does not tell its clients whether an acknowledged write is on disk",
            f"run with --monitor http://HOST:8222, or see for yourself: {do}",
        )
    if run_file.fast:
        return warn(
            "nats.durability",
            "--fast: not every acknowledged write is on disk",
            "leave it out where that matters",
        )
    return ok("nats.durability", "every acknowledged write is on disk")


def _room(chart: Chart) -> Finding:
    tier = chart.account
    used, allowed = int(tier.get("storage", 0)), int((tier.get("limits") or {}).get("max_storage", -1))
    if allowed <= 0:
        return ok("nats.storage", f"{_size(used)} used; the account has no limit")
    share = used / allowed
    saw = f"{_size(used)} of {_size(allowed)} used ({share:.0%})"
    do = "raise the account's max_storage, or shorten GNOMON_EVENT_TTL"
    if share >= _FULL_FAIL:
        return fail("nats.storage", saw, do)
    return warn("nats.storage", saw, do) if share >= _FULL_WARN else ok("nats.storage", saw)


def _disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    share = 1 - usage.free / usage.total
    saw = f"{_size(usage.free)} free of {_size(usage.total)} where {folder} is"
    if share >= _FULL_FAIL:
        return fail("disk.data", saw, "make room: without it NATS and Postgres store nothing more")
    return warn("disk.data", saw, "make room soon") if share >= _FULL_WARN else ok("disk.data", saw)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
