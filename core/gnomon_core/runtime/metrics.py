"""Metrics: every one that a Gnomon process keeps, declared in this list, and their text for Prometheus.

Recording is meant to be cheap enough to be done where things happen: a fraction of a microsecond, no lock
(each process records from its event loop). In hot loops `labelled` gives an instrument whose labels are
looked up once, and counters and histograms take many at a time. Durations are in seconds, and buckets are
declared here.
"""

from __future__ import annotations

import os
import resource
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from typing_extensions import override

__all__ = [
    "BATCH_MESSAGES",
    "CLAIM_CONFLICTS",
    "COMMANDS",
    "COMMIT_SECONDS",
    "CONTENT_TYPE",
    "DEPOSITIONS",
    "DUES_PENDING",
    "EXECUTIONS",
    "EXECUTIONS_RUNNING",
    "EXECUTION_SECONDS",
    "FIRES",
    "FIRE_LATENESS",
    "FOLLOWER_RESTARTS",
    "HTTP_REQUESTS",
    "HTTP_SECONDS",
    "LEASES_GAINED",
    "LOOP_DELAY",
    "METRICS",
    "NATS_CONNECTED",
    "NATS_RECONNECTS",
    "OUTCOMES",
    "PROJECTOR_EVENTS",
    "PROJECTOR_LAG_EVENTS",
    "PROJECTOR_LAG_SECONDS",
    "SHARDS_LED",
    "SHARD_TAKEOVERS",
    "SHARD_TAKEOVER_SECONDS",
    "TAKEOVERS",
    "TASKS_KNOWN",
    "WATERMARK_LAG",
    "Counter",
    "Gauge",
    "Histogram",
    "Registry",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of `Registry.render`."""

FAST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds, for what should take milliseconds."""
LATENESS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0)
"""Seconds, for how late something is."""
RUN_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""Seconds, for how long a task's work takes."""
COUNT_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


class _Instrument:
    """What counters, gauges and histograms share: a name, a meaning and labels in a fixed order."""

    kind = ""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)

    def _key(self, given: dict[str, str]) -> tuple[str, ...]:
        """The values of the labels in their order. Raises ValueError when they are not exactly the declared
        ones."""
        if len(given) == len(self.labels):
            try:
                return tuple([given[label] for label in self.labels])
            except KeyError:
                pass
        raise ValueError(f"{self.name} has labels {list(self.labels)}, not {sorted(given)}")

    def _series(self, values: tuple[str, ...], suffix: str = "", **more: str) -> str:
        pairs = [*zip(self.labels, values, strict=True), *more.items()]
        if not pairs:
            return f"{self.name}{suffix}"
        shown = ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs)
        return f"{self.name}{suffix}{{{shown}}}"

    def lines(self) -> Iterable[str]:
        """The instrument's series as Prometheus reads them."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget what was recorded: for tests."""
        raise NotImplementedError


class Counter(_Instrument):
    """Counts what happened; its name ends in `_total`."""

    kind = "counter"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self._values: dict[tuple[str, ...], float] = {} if self.labels else {(): 0.0}

    def add(self, amount: float = 1, **labels: str) -> None:
        """Count `amount` more. Raises ValueError for labels that were not declared."""
        key = self._key(labels)
        self._values[key] = self._values.get(key, 0.0) + amount

    def labelled(self, **labels: str) -> Callable[[float], None]:
        """`add` with these labels, for hot loops."""
        key, values = self._key(labels), self._values
        values.setdefault(key, 0.0)

        def add(amount: float = 1) -> None:
            values[key] += amount

        return add

    def value(self, **labels: str) -> float:
        """What was counted so far."""
        return self._values.get(self._key(labels), 0.0)

    @override
    def lines(self) -> Iterable[str]:
        """See the base class."""
        return [f"{self._series(key)} {value:.15g}" for key, value in sorted(self._values.items())]

    @override
    def clear(self) -> None:
        """See the base class."""
        for key in self._values:
            self._values[key] = 0.0


class Gauge(_Instrument):
    """Shows how much there is now."""

    kind = "gauge"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self._values: dict[tuple[str, ...], float] = {}

    def set(self, value: float, **labels: str) -> None:
        """Show `value` from now on. Raises ValueError for labels that were not declared."""
        self._values[self._key(labels)] = value

    def forget(self, **labels: str) -> None:
        """Show nothing for these labels any more."""
        self._values.pop(self._key(labels), None)

    def value(self, **labels: str) -> float | None:
        """What is shown; None for nothing."""
        return self._values.get(self._key(labels))

    @override
    def lines(self) -> Iterable[str]:
        """See the base class."""
        return [f"{self._series(key)} {value:.15g}" for key, value in sorted(self._values.items())]

    @override
    def clear(self) -> None:
        """See the base class."""
        self._values.clear()


class Histogram(_Instrument):
    """Counts values by size: in buckets whose upper bounds are declared, and how many and how much in all."""

    kind = "histogram"

    def __init__(self, name: str, meaning: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self.buckets = tuple(buckets)
        self._counts: dict[tuple[str, ...], list[float]] = {}
        if not self.labels:
            self._row(())

    def record(self, value: float, **labels: str) -> None:
        """Count one value. Raises ValueError for labels that were not declared."""
        row = self._row(self._key(labels))
        row[bisect_left(self.buckets, value)] += 1
        row[-1] += value

    def record_many(self, values: Iterable[float], **labels: str) -> None:
        """Count several values with the same labels."""
        row, buckets = self._row(self._key(labels)), self.buckets
        for value in values:
            row[bisect_left(buckets, value)] += 1
            row[-1] += value

    def count(self, **labels: str) -> float:
        """How many values were counted."""
        return sum(self._row(self._key(labels))[:-1])

    @override
    def lines(self) -> Iterable[str]:
        """See the base class."""
        shown: list[str] = []
        for key, row in sorted(self._counts.items()):
            running = 0.0
            for bound, number in zip((*self.buckets, float("inf")), row[:-1], strict=True):
                running += number
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                shown.append(f"{self._series(key, '_bucket', le=edge)} {running:.15g}")
            shown.append(f"{self._series(key, '_sum')} {row[-1]:.15g}")
            shown.append(f"{self._series(key, '_count')} {running:.15g}")
        return shown

    @override
    def clear(self) -> None:
        """See the base class."""
        for key in self._counts:
            self._counts[key] = [0.0] * (len(self.buckets) + 2)

    def _row(self, key: tuple[str, ...]) -> list[float]:
        """One count per bucket and one beyond the last, then the sum of the values."""
        row = self._counts.get(key)
        if row is None:
            row = self._counts[key] = [0.0] * (len(self.buckets) + 2)
        return row


_InstrumentT = TypeVar("_InstrumentT", bound=_Instrument)


class Registry:
    """Instruments that are shown together."""

    def __init__(self) -> None:
        self._instruments: dict[str, _Instrument] = {}
        self._collectors: list[Callable[[], None]] = []

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        """Declare a counter. Raises ValueError for a name that is taken."""
        return self._declare(Counter(name, meaning, labels))

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        """Declare a gauge. Raises ValueError for a name that is taken."""
        return self._declare(Gauge(name, meaning, labels))

    def histogram(
        self, name: str, meaning: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """Declare a histogram. Raises ValueError for a name that is taken."""
        return self._declare(Histogram(name, meaning, buckets, labels))

    def before_render(self, collect: Callable[[], None]) -> None:
        """Call `collect` each time before rendering: for gauges that are read rather than kept up to date."""
        self._collectors.append(collect)

    def render(self) -> str:
        """All instruments in the text format of Prometheus."""
        for collect in self._collectors:
            collect()
        shown: list[str] = []
        for instrument in self._instruments.values():
            shown.append(f"# HELP {instrument.name} {instrument.meaning}")
            shown.append(f"# TYPE {instrument.name} {instrument.kind}")
            shown.extend(instrument.lines())
        return "\n".join(shown) + "\n"

    def clear(self) -> None:
        """Forget everything recorded: for tests."""
        for instrument in self._instruments.values():
            instrument.clear()

    def __iter__(self) -> Iterator[_Instrument]:
        return iter(self._instruments.values())

    def _declare(self, instrument: _InstrumentT) -> _InstrumentT:
        if instrument.name in self._instruments:
            raise ValueError(f"metric {instrument.name} is declared twice")
        self._instruments[instrument.name] = instrument
        return instrument


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


METRICS = Registry()
"""All metrics of the process."""

FIRE_LATENESS = METRICS.histogram(
    "gnomon_fire_lateness_seconds", "From a slot's due time to its due being stored.", LATENESS_BUCKETS
)
FIRES = METRICS.counter("gnomon_fires_total", "Dues of scheduled slots emitted.")
OUTCOMES = METRICS.counter(
    "gnomon_outcomes_total", "Slots that got their outcome, by outcome and reason.", ("outcome", "reason")
)
COMMANDS = METRICS.counter(
    "gnomon_commands_total", "Commands decided, by verb and result.", ("verb", "result")
)
COMMIT_SECONDS = METRICS.histogram(
    "gnomon_commit_seconds", "From handing an atomic batch over to its acknowledgement.", FAST_BUCKETS
)
BATCH_MESSAGES = METRICS.histogram("gnomon_batch_messages", "Messages in an atomic batch.", COUNT_BUCKETS)
SHARDS_LED = METRICS.gauge("gnomon_shards_led", "Shards that this scheduler leads.")
SHARD_TAKEOVERS = METRICS.counter("gnomon_shard_takeovers_total", "Shards taken over by this scheduler.")
SHARD_TAKEOVER_SECONDS = METRICS.histogram(
    "gnomon_shard_takeover_seconds", "From gaining a shard's lease to leading it.", FAST_BUCKETS
)
DEPOSITIONS = METRICS.counter("gnomon_depositions_total", "Shards lost because a write was fenced.")
WATERMARK_LAG = METRICS.gauge(
    "gnomon_watermark_lag_seconds", "How far a led shard's watermark is behind the clock.", ("partition",)
)
TASKS_KNOWN = METRICS.gauge("gnomon_tasks", "Tasks in a led shard's memory.", ("partition",))

CLAIM_CONFLICTS = METRICS.counter(
    "gnomon_claim_conflicts_total", "Claims that another executor had made first."
)
TAKEOVERS = METRICS.counter(
    "gnomon_takeovers_total", "Executions taken over from an executor that fell silent."
)
EXECUTIONS_RUNNING = METRICS.gauge("gnomon_executions_running", "Executions that this executor is running.")
EXECUTIONS = METRICS.counter(
    "gnomon_executions_total", "Executions that ended here, by type and status.", ("task_type", "status")
)
EXECUTION_SECONDS = METRICS.histogram(
    "gnomon_execution_seconds", "How long attempts took, by type.", RUN_BUCKETS, ("task_type",)
)
DUES_PENDING = METRICS.gauge(
    "gnomon_dues_pending", "Dues that wait for an executor, by pool and priority.", ("pool", "priority")
)

PROJECTOR_EVENTS = METRICS.counter("gnomon_projector_events_total", "Events written into the read models.")
PROJECTOR_LAG_EVENTS = METRICS.gauge("gnomon_projector_lag_events", "Events stored and not yet projected.")
PROJECTOR_LAG_SECONDS = METRICS.gauge(
    "gnomon_projector_lag_seconds", "Age of the last projected event when it was projected."
)
HTTP_REQUESTS = METRICS.counter(
    "gnomon_http_requests_total",
    "HTTP requests answered, by route and status.",
    ("method", "route", "status"),
)
HTTP_SECONDS = METRICS.histogram(
    "gnomon_http_request_seconds", "How long answers took, by route.", FAST_BUCKETS, ("route",)
)

LEASES_GAINED = METRICS.counter("gnomon_leases_gained_total", "Leases gained, by how.", ("how",))
FOLLOWER_RESTARTS = METRICS.counter(
    "gnomon_follower_restarts_total", "Consumers that a follower had to make anew.", ("follower",)
)
NATS_CONNECTED = METRICS.gauge("gnomon_nats_connected", "1 while the connection to NATS is up, else 0.")
NATS_RECONNECTS = METRICS.counter("gnomon_nats_reconnects_total", "Connections to NATS made anew.")
LOOP_DELAY = METRICS.histogram(
    "gnomon_loop_delay_seconds", "How late the event loop came to what was due.", FAST_BUCKETS
)

_CPU_SECONDS = METRICS.gauge("process_cpu_seconds_total", "CPU time of the process, user and system.")
_MEMORY = METRICS.gauge("process_resident_memory_bytes", "Memory of the process.")
_START_TIME = METRICS.gauge("process_start_time_seconds", "When the process was started, since the epoch.")
_START_TIME.set(time.time())


def _collect_process() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _CPU_SECONDS.set(usage.ru_utime + usage.ru_stime)
    try:
        with open("/proc/self/statm", "rb") as statm:
            _MEMORY.set(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        _MEMORY.set(usage.ru_maxrss)  # no /proc, as on macOS: the most it ever was, in bytes there


METRICS.before_render(_collect_process)
