"""Who is there and whether the work gets done: processes, leases, lag, what is stuck."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from gnomon_cli.doctor.chart import DUES_READ, Chart, broker_ms
from gnomon_cli.doctor.findings import Finding, fail, ok, warn
from gnomon_cli.shown import counted, duration
from gnomon_core.runtime.lease import shard_key
from gnomon_core.runtime.topology import PARTITIONS_KEY
from gnomon_schemas import subjects
from gnomon_schemas.dues import Due
from gnomon_schemas.members import Member
from gnomon_schemas.subjects import COMMANDS_STREAM, DUE_STREAM, EVENTS_STREAM, PRIORITIES

__all__ = ["check_work", "pools_served"]

_LAG_WARN_SECONDS, _LAG_FAIL_SECONDS = 5.0, 60.0
_OVERTIME_SECONDS: Final = 60.0
"""Beyond its timeout: for the ack wait, the take-over and the write of the result."""
_SHOWN: Final = 5
_KINDS: Final = ("scheduler", "executor", "api")


def check_work(chart: Chart, here: str) -> Iterator[Finding]:
    """All findings about processes and work; `here` is the version of this command."""
    yield from _processes(chart, here)
    yield from _clocks(chart.members)
    yield from _shards(chart)
    yield from _projector(chart)
    yield from _commands(chart)
    yield from _queue(chart)
    yield _dead_letters(chart)


def pools_served(members: Sequence[Member]) -> dict[str, set[str]]:
    """Task types by pool that some executor takes work of now."""
    served: dict[str, set[str]] = defaultdict(set)
    for member in members:
        if member.kind == "executor" and not member.draining:
            for pool in member.pools:
                served[pool] |= set(member.task_types)
    return served


def _processes(chart: Chart, here: str) -> Iterator[Finding]:
    there = Counter(member.kind for member in chart.members)
    what = {
        "scheduler": "no task is fired and no command is decided",
        "executor": "nothing that is due is run",
        "api": "nothing answers over HTTP, and the read models stand still",
    }
    for kind in _KINDS:
        if there[kind]:
            yield ok(f"processes.{kind}", f"{there[kind]} running")
        else:
            yield fail(
                f"processes.{kind}",
                "none is running",
                f"start one with `gnomon {kind}`: until then {what[kind]}",
            )
    versions = sorted({member.version for member in chart.members})
    listed = "; ".join(
        f"{version}: {', '.join(sorted(m.kind for m in chart.members if m.version == version))}"
        for version in versions
    )
    if len(versions) > 1:
        yield warn(
            "versions.processes",
            listed,
            "finish the upgrade: different versions are meant to run together for its time only",
        )
    elif versions and versions[0] != here:
        yield warn(
            "versions.processes",
            f"{listed}; this command is {here}",
            "use the command of the version that runs",
        )
    elif versions:
        yield ok("versions.processes", f"all of {versions[0]}")


def _clocks(members: Sequence[Member]) -> Iterator[Finding]:
    off = [member for member in members if member.clock_offset_ms]
    if off:
        yield fail(
            "clock.processes",
            "; ".join(
                f"{m.kind} {m.id} on {m.host} is {m.clock_offset_ms:+} ms from the broker" for m in off
            ),
            "set the clock of that host by NTP: until then the process leads no shard and claims no work",
        )
    elif members:
        yield ok(
            "clock.processes",
            f"{counted(len(members), 'process', 'es')} within 2 s of the broker, as they say themselves",
        )


def _shards(chart: Chart) -> Iterator[Finding]:
    events = chart.streams.get(EVENTS_STREAM)
    if events is None:
        return
    partitions = int((events["config"].get("metadata") or {}).get(PARTITIONS_KEY, 0))
    led = {shard.partition: shard for scheduler in chart.schedulers for shard in scheduler.shards}
    claimed = Counter(shard.partition for scheduler in chart.schedulers for shard in scheduler.shards)
    unleased = [number for number in range(partitions) if shard_key(number) not in chart.leases]
    silent = [number for number in range(partitions) if number not in led and number not in unleased]
    if unleased or silent:
        parts = []
        if unleased:
            parts.append(f"no leader of shards {_numbers(unleased)}")
        if silent:
            parts.append(f"the leader of shards {_numbers(silent)} does not answer")
        yield fail(
            "shards.led",
            "; ".join(parts),
            "start a scheduler, or look at the logs of those there are for lease.lost and lease.start_failed: "
            "tasks of these shards do not fire",
        )
    elif partitions:
        count = len(chart.schedulers)
        yield ok("shards.led", f"{counted(partitions, 'shard')} led by {counted(count, 'scheduler')}")
    twice = [number for number, count in claimed.items() if count > 1]
    if twice:
        yield warn(
            "shards.claimed_twice",
            f"shards {_numbers(twice)}: two say that they lead",
            "look again: it ends with the older one's next write, which is refused. If it stays, look at its log",
        )
    foreign = [
        number
        for number, shard in led.items()
        if (lease := chart.leases.get(shard_key(number))) is not None and lease.owner != shard.leader
    ]
    if foreign:
        yield warn(
            "shards.lease",
            f"shards {_numbers(foreign)}: led by another than the holder of the lease",
            "look again: a hand-over takes milliseconds. If it stays, restart the one that the lease names",
        )
    late = max((shard.lag_seconds for shard in led.values()), default=0.0)
    if led:
        worst = max(led.values(), key=lambda shard: shard.lag_seconds)
        saw = f"the most overdue slot waits for {duration(late)}" if late else "no slot is overdue"
        yield _by_lag(
            "shards.lag",
            late,
            f"{saw} (shard {worst.partition})" if late else saw,
            "look at gnomon_commit_seconds and gnomon_event_loop_lag_seconds of its leader, or add schedulers",
        )


def _projector(chart: Chart) -> Iterator[Finding]:
    if chart.newest_event is None:
        return
    do = "look at Postgres and at the api's log for projector.waits; reads show an old state until it has caught up"
    if chart.projector is None:
        yield fail(
            "projector.lag", "nobody has ever projected these events", "start an api with its Postgres"
        )
        return
    behind = chart.newest_event.seq - chart.projector.sequence
    if behind <= 0:
        yield ok("projector.lag", "the read models have the newest event")
        return
    waits = max(0.0, time.time() - (chart.unread_ms or chart.newest_event.time_ms) / 1000)
    saw = f"{behind} messages behind; the first event that is missing was stored {duration(waits)} ago"
    yield _by_lag("projector.lag", waits, saw, do)


def _commands(chart: Chart) -> Iterator[Finding]:
    info = chart.streams.get(COMMANDS_STREAM)
    if info is None:
        return
    waiting = int(info["state"]["messages"])
    if not waiting:
        yield ok("commands.waiting", "none")
        return
    age = max(0.0, (time.time_ns() // 1_000_000 - broker_ms(info["state"]["first_ts"])) / 1000)
    yield _by_lag(
        "commands.waiting",
        age,
        f"{waiting}, the oldest for {duration(age)}",
        "see shards.led: commands are decided by the leader of their shard",
    )


def _queue(chart: Chart) -> Iterator[Finding]:
    served = pools_served(chart.members)
    info = chart.streams.get(DUE_STREAM)
    if info is None:
        return
    pending: Counter[str] = Counter()
    for consumer in chart.consumers:
        pool, _, priority = consumer["name"].removeprefix("exec_").rpartition("_")
        if priority in PRIORITIES:
            pending[pool] += int(consumer["num_pending"])
    orphaned = {pool: count for pool, count in pending.items() if count and pool not in served}
    orphaned |= {due.pool: 1 for _, due in chart.dues if due.pool not in served and due.pool not in orphaned}
    if orphaned:
        yield fail(
            "queue.pools",
            "; ".join(
                f"work waits in pool {pool}, and no executor takes from it" for pool in sorted(orphaned)
            ),
            "start an executor with `gnomon executor --pools "
            + ",".join(sorted(orphaned))
            + "`, or move the tasks to another pool",
        )
    else:
        yield ok("queue.pools", f"{sum(pending.values())} waiting; every pool with work has an executor")
    yield from _stuck(chart.dues, served)


def _stuck(dues: Sequence[tuple[int, Due]], served: dict[str, set[str]]) -> Iterator[Finding]:
    now_ms = time.time_ns() // 1_000_000
    unknown_types = sorted(
        {
            f"{due.task_type} in pool {due.pool}"
            for _, due in dues
            if due.pool in served and due.task_type not in served[due.pool]
        }
    )
    if unknown_types:
        yield fail(
            "queue.types",
            f"work waits that no executor of its pool runs: {', '.join(unknown_types[:_SHOWN])}",
            "start an executor that has the type (`--tasks MODULE`) and takes from that pool",
        )
    overtime = [
        due.execution_id
        for stored_ms, due in dues
        if now_ms - stored_ms > (due.timeout_seconds + _OVERTIME_SECONDS) * 1000
    ]
    if overtime:
        yield warn(
            "queue.overtime",
            f"{len(overtime)} in the queue for longer than their timeout: {', '.join(overtime[:_SHOWN])}",
            "`gnomon task explain ID` tells where each stands; are there enough executors for the pool?",
        )
    elif dues:
        oldest = (now_ms - dues[0][0]) / 1000
        count = f"the oldest {DUES_READ}" if len(dues) >= DUES_READ else str(len(dues))
        yield ok(
            "queue.overtime", f"{count} in the queue or running, the oldest for {duration(max(0.0, oldest))}"
        )
    else:
        yield ok("queue.overtime", "nothing in the queue")


def _dead_letters(chart: Chart) -> Finding:
    count = sum(chart.dead_letters.values())
    if not count:
        return ok("dead_letters", "none in the log")
    found = [subjects.parse_event(subject) for subject in list(chart.dead_letters)[:_SHOWN]]
    shown = ", ".join(f"{one.object_id}.{one.run}" for one in found)
    return warn(
        "dead_letters",
        f"{count} in the log: {shown}",
        "read why with `gnomon task explain ID`, mend the cause, and run the task again",
    )


def _by_lag(check: str, seconds: float, saw: str, do: str) -> Finding:
    if seconds >= _LAG_FAIL_SECONDS:
        return fail(check, saw, do)
    return warn(check, saw, do) if seconds >= _LAG_WARN_SECONDS else ok(check, saw)


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
