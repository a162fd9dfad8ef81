"""NATS: its version, its clock, the streams and buckets, how safely they are kept, room on its disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gnomon_cli.doctor.chart import Chart
from gnomon_cli.doctor.findings import Finding, fail, ok, unknown, warn
from gnomon_cli.doctor.target import Patient
from gnomon_core.runtime.clock import CLOCK_TOLERANCE_MS
from gnomon_core.runtime.durability import STATED, Demand, durability_of, read_sync
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


def check_nats(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """All findings about NATS itself."""
    own_machine = patient.run_file is not None
    yield _version(chart)
    yield _clock(chart)
    yield from _streams(chart)
    yield from _replicas(chart, own_machine=own_machine)
    yield from _durability(chart, patient)
    yield _room(chart)
    if own_machine:
        yield _disk(patient.folder)


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


def _durability(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """What an acknowledged write is worth, and whether that is what GNOMON_REQUIRE_DURABILITY demands."""
    configs = {name: info["config"] for name in STATED if (info := chart.streams.get(name)) is not None}
    if not configs:
        return
    found = durability_of(configs, read_sync(patient.monitors))
    # That copies are few is told by a finding of its own.
    advice = "; ".join(found.lacks(Demand.FSYNC))
    if found.synced and not advice:
        yield ok("nats.durability", found.words)
    elif found.synced is None and not found.lacks(Demand.WRITTEN):
        yield unknown("nats.durability", found.words, advice)
    else:
        yield warn("nats.durability", found.words, f"{advice}: else a power cut loses acknowledged writes")
    if patient.demand is not Demand.MEMORY:
        lacking = "; ".join(found.lacks(patient.demand))
        what = f"GNOMON_REQUIRE_DURABILITY={patient.demand}"
        yield (
            fail("durability.required", f"{what} is not met: no process starts", lacking)
            if lacking
            else ok("durability.required", f"{what} is met")
        )


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
