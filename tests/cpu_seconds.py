"""A plugin that tells which files of tests cost most: CPU seconds, with all the processes that they start.

    make test ARGS="-p tests.cpu_seconds"

CPU seconds say what a file costs on any machine, however busy; `--durations` says how long somebody waited. What is
counted is this process, the children that have ended and those that live, and theirs. With several workers each counts
its own. The kernel is asked before and after each phase of a test, so it takes a little longer. Linux only.
"""

from __future__ import annotations

import os
import resource
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from _pytest.terminal import TerminalReporter

__all__ = ["pytest_runtest_logreport", "pytest_runtest_makereport", "pytest_terminal_summary"]

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SHOWN: Final = 40
_PROPERTY: Final = "cpu-seconds"
_last = pytest.StashKey[float]()
_by_file: defaultdict[str, float] = defaultdict(float)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put into each phase's report what was used since the phase before."""
    report = yield
    now, stash = _used(), item.session.stash
    report.user_properties.append((_PROPERTY, now - stash.get(_last, now)))
    stash[_last] = now
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add it to its file's. With several workers, all their reports come here."""
    for name, value in report.user_properties:
        if name == _PROPERTY and isinstance(value, float):
            _by_file[report.nodeid.partition("::")[0]] += value


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Show the files that cost most."""
    terminalreporter.section(f"CPU seconds: {sum(_by_file.values()):.0f} in {len(_by_file)} files")
    for name, seconds in sorted(_by_file.items(), key=lambda each: -each[1])[:_SHOWN]:
        terminalreporter.line(f"{seconds:8.1f}  {name}")


def _used() -> float:
    """CPU seconds of this process and of everything below it so far."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in own) + _of_living(os.getpid())


def _of_living(pid: int) -> float:
    """CPU seconds of the processes below one, with those of their children that have ended."""
    below: dict[int, list[int]] = defaultdict(list)
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        below[int(fields[1])].append(int(entry.name))
        used[int(entry.name)] = sum(map(int, fields[11:15])) / _TICKS
    total, waiting = 0.0, [*below[pid]]
    while waiting:
        child = waiting.pop()
        total += used[child]
        waiting += below[child]
    return total
