"""What a benchmark finds, as it is printed, drawn and written to `results/latest.json`.

The JSON is `Report`, field by field: what a field means is said here, under it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec

__all__ = [
    "SCHEMA",
    "Aim",
    "Figure",
    "Mode",
    "Outcomes",
    "Report",
    "Result",
    "Series",
    "Unsound",
    "percentile",
    "quantiles",
]

SCHEMA = 1
"""Version of the JSON: goes up when a field changes its meaning."""

Mode = Literal["fast", "sync"]
"""`sync`: nats-server calls fsync before it acknowledges, Postgres at each commit. `fast`: the system does, later."""


class Unsound(Exception):
    """The run lost or doubled something, or recorded what nobody asked for: its figures count for nothing."""


class Aim(msgspec.Struct, frozen=True):
    """What a figure should reach, in its own unit, under `--fast` at full scale on two cores."""

    value: float
    better: Literal["more", "less"] = "less"

    def met(self, value: float) -> bool:
        """Whether a figure reaches the aim."""
        return value >= self.value if self.better == "more" else value <= self.value


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number, and what stands beside it."""

    name: str
    unit: str
    value: float
    """The median of `rounds` where there were several."""
    rounds: tuple[float, ...] = ()
    ceiling: float | None = None
    """The same of a bare loop on nats-py or Postgres, measured in this very run, in turn with ours."""
    ceiling_rounds: tuple[float, ...] = ()
    ceiling_is: str = ""
    """What that bare loop does."""
    aim: Aim | None = None
    judged: bool = True
    """Whether the aim applies: it speaks of `--fast` at full scale."""

    @property
    def ratio(self) -> float | None:
        """Ours by the ceiling's: of a rate how much of the ceiling is reached, of a time how many times as long."""
        return self.value / self.ceiling if self.ceiling else None

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or why neither can be said."""
        if self.aim is None:
            return ""
        if not self.judged:
            return "not judged"
        return "met" if self.aim.met(self.value) else "missed"


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Points to draw. `cdf`: x milliseconds, y share of all; `rate`: x seconds, y events a second."""

    name: str
    kind: Literal["cdf", "rate"]
    x: tuple[float, ...]
    y: tuple[float, ...]
    ceiling: bool = False
    """It belongs to the bare loop."""


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for and what is recorded, counted from the stream, and in Postgres where rows were written."""

    expected: int
    recorded: int
    missed: int = 0
    """Expected and not recorded, or recorded as anything but executed."""
    doubled: int = 0
    rows: int | None = None
    """Of them in Postgres; None where no api ran."""
    details: str = ""

    def insist(self) -> None:
        """Raise Unsound unless all of it happened, once."""
        rows_differ = self.rows is not None and self.rows != self.expected
        if self.missed or self.doubled or self.recorded != self.expected or rows_differ:
            rows = "" if self.rows is None else f", {self.rows} rows in Postgres"
            raise Unsound(
                f"{self.expected} were expected and {self.recorded} are recorded: {self.missed} missed, "
                f"{self.doubled} doubled{rows}\n{self.details}"
            )


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one question came to in one mode."""

    question: str
    title: str
    mode: Mode
    settings: dict[str, float | int | str]
    """Counts and durations of this run, scale included."""
    figures: tuple[Figure, ...]
    outcomes: Outcomes | None = None
    cpu: dict[str, dict[str, float]] = {}
    """By what was done, by process: CPU microseconds (user and system) for each operation."""
    operations: dict[str, int] = {}
    """By what was done: over how many operations `cpu` is the mean."""
    series: tuple[Series, ...] = ()
    notes: tuple[str, ...] = ()
    load_before: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Load average of the machine (1, 5, 15 minutes) just before."""
    seconds: float = 0.0
    """How long the question took, set-up included."""
    failure: str = ""
    """Why there are no figures to trust; empty when all is well."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the suite."""

    schema: int
    began: str
    """RFC 3339."""
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    options: dict[str, str | int | float | bool]
    results: tuple[Result, ...]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all do not exceed. Raises ValueError for no values."""
    if not values:
        raise ValueError("a percentile of nothing")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def quantiles(name: str, values: Sequence[float], *, ceiling: bool = False) -> Series:
    """The distribution of values in 201 points."""
    ordered = sorted(values)
    last = len(ordered) - 1
    shares = [step / 200 for step in range(201)]
    return Series(
        name=name,
        kind="cdf",
        x=tuple(round(ordered[round(share * last)], 3) for share in shares),
        y=tuple(shares),
        ceiling=ceiling,
    )


def rate_over_time(
    name: str, times_ms: Sequence[float], *, every_ms: int = 250, ceiling: bool = False
) -> Series:
    """How many a second, in slices of `every_ms`, from the first on, without the last slice, which is not whole."""
    first = min(times_ms)
    slices = [0] * (int((max(times_ms) - first) // every_ms) + 1)
    for time_ms in times_ms:
        slices[int((time_ms - first) // every_ms)] += 1
    whole = slices[:-1] or slices
    return Series(
        name=name,
        kind="rate",
        x=tuple(round(number * every_ms / 1000, 3) for number in range(len(whole))),
        y=tuple(count * 1000 / every_ms for count in whole),
        ceiling=ceiling,
    )


def rate_figure(
    name: str,
    rounds: Sequence[float],
    *,
    unit: str = "/s",
    ceiling: Sequence[float] = (),
    ceiling_is: str = "",
    aim: float | None = None,
    judged: bool = True,
) -> Figure:
    """A figure of which more is better, from one value a round."""
    wanted = None if aim is None else Aim(aim, "more")
    return _figure(name, unit, rounds, ceiling, ceiling_is, wanted, judged)


def time_figure(
    name: str,
    rounds: Sequence[float],
    *,
    unit: str = "ms",
    ceiling: Sequence[float] = (),
    ceiling_is: str = "",
    aim: float | None = None,
    judged: bool = True,
) -> Figure:
    """A figure of which less is better, from one value a round."""
    wanted = None if aim is None else Aim(aim, "less")
    return _figure(name, unit, rounds, ceiling, ceiling_is, wanted, judged)


def _figure(
    name: str,
    unit: str,
    rounds: Sequence[float],
    ceiling: Sequence[float],
    ceiling_is: str,
    aim: Aim | None,
    judged: bool,
) -> Figure:
    """The medians of the rounds beside those of the ceiling."""
    return Figure(
        name=name,
        unit=unit,
        value=statistics.median(rounds),
        rounds=tuple(rounds),
        ceiling=statistics.median(ceiling) if ceiling else None,
        ceiling_rounds=tuple(ceiling),
        ceiling_is=ceiling_is,
        aim=aim,
        judged=judged,
    )
