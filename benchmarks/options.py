"""What a run is told: which questions, which modes, how much of each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.measurement import Mode

__all__ = ["RESULTS", "Options", "read_options"]

RESULTS = Path(__file__).parent / "results"
"""Where JSON, plots and profiles go unless told otherwise."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to run."""

    modes: tuple[Mode, ...] = ("sync", "fast")
    scale: float = 1.0
    """Factor on counts and durations. Aims are judged at 1 only."""
    full: bool = False
    """A million schedules instead of a hundred thousand."""
    rounds: int = 0
    """How often a measurement and its ceiling take turns; 0: what the question thinks right."""
    profile: bool = False
    """Record the service processes with py-spy."""
    out: Path = RESULTS
    only: tuple[str, ...] = ()
    """Names of questions; none means all."""

    def count(self, whole: int, *, least: int = 1) -> int:
        """A count at this scale."""
        return max(least, round(whole * self.scale))

    def turns(self, usual: int) -> int:
        """How many rounds."""
        return self.rounds or usual

    def judged(self, mode: Mode) -> bool:
        """Whether aims apply."""
        return mode == "fast" and self.scale >= 1


def read_options(arguments: Sequence[str] | None, questions: Sequence[str], description: str) -> Options:
    """Read the command line; `questions` are the names that `--only` takes, one alone leaves it out."""
    parser = argparse.ArgumentParser(description=description)
    if len(questions) > 1:
        parser.add_argument("--only", default="", help=f"of {','.join(questions)}, with commas")
    parser.add_argument("--fast", action="store_true", help="only without fsync per write")
    parser.add_argument("--sync", action="store_true", help="only with fsync per write")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on counts and durations, as 0.1")
    parser.add_argument("--full", action="store_true", help="a million schedules, not a hundred thousand")
    parser.add_argument("--rounds", type=int, default=0, help="turns of measurement and ceiling")
    parser.add_argument("--profile", action="store_true", help="record the services with py-spy")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for JSON, plots and profiles")
    given = parser.parse_args(arguments)
    only = tuple(name for name in getattr(given, "only", "").split(",") if name)
    unknown = [name for name in only if name not in questions]
    if unknown:
        parser.error(f"--only {unknown[0]}: allowed are {', '.join(questions)}")
    if not 0 < given.scale <= 10:
        parser.error(f"--scale {given.scale:g}: allowed is more than 0, at most 10")
    if given.rounds < 0:
        parser.error(f"--rounds {given.rounds}: allowed is 1 or more; 0 leaves it to the question")
    modes: tuple[Mode, ...] = ("sync", "fast")
    if given.fast != given.sync:
        modes = ("fast",) if given.fast else ("sync",)
    return Options(
        modes=modes,
        scale=given.scale,
        full=given.full,
        rounds=given.rounds,
        profile=given.profile,
        out=given.out,
        only=only,
    )
