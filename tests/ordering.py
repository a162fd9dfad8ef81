"""The order in which workers take the files of tests, where several work at a time.

A worker takes a whole file, since the servers of a file are started once. The longest go first, so that none is begun
when the others have nothing left to do: of a file it is told how long it may take by the longest timeout of its tests,
and then by how many they are. Files whose tests start processes wait a lot, the others only reckon: they take turns, so
that neither do four workers wait at a time nor are eight worlds crowded into the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

__all__ = ["in_turns", "order"]

_WITH_PROCESSES: Final = ("tests/failures/", "tests/integration/")


def order(items: list[pytest.Item]) -> None:
    """Sort tests by file, in place; those of a file stay as they are."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    longest_first = sorted(files, key=lambda name: (-_longest(files[name]), -len(files[name]), name))
    waiting = [name for name in longest_first if name.startswith(_WITH_PROCESSES)]
    reckoning = [name for name in longest_first if not name.startswith(_WITH_PROCESSES)]
    items[:] = [item for name in in_turns(waiting, reckoning) for item in files[name]]


def in_turns(some: Sequence[str], others: Sequence[str]) -> list[str]:
    """Both in their orders, each spread evenly over the whole."""
    placed = [
        ((number + 0.5) / len(each), name) for each in (some, others) for number, name in enumerate(each)
    ]
    return [name for _, name in sorted(placed)]


def _longest(items: list[pytest.Item]) -> float:
    """Seconds that the test which may take longest has; 0 where all have what is usual."""
    marks = [mark for item in items for mark in item.iter_markers("timeout")]
    return max((float(mark.args[0]) for mark in marks if mark.args), default=0.0)
