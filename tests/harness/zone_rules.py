"""Rules of zones that never were: files as `zoneinfo` reads them, made of changes and a rule for what follows.

For "the calendar before" or "the calendar of next year", said in the words of a POSIX `TZ` (`EET-2EEST,…`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Change", "made_rules"]


class Change(NamedTuple):
    """From an instant (seconds since 1970) on the clock is so many seconds ahead of UTC."""

    at: int
    offset: int
    dst: bool = False


def made_rules(footer: str, *, first: int = 0, changes: Sequence[Change] = ()) -> bytes:
    """The file of a zone: `first` is its offset before all changes, `footer` the rule that follows the last of them.

    RFC 9636: a version 1 part that nobody reads, then the same with 64 bits, then the footer.
    """
    kinds = sorted({(first, False), *((change.offset, change.dst) for change in changes)})
    kinds.remove((first, False))
    kinds.insert(0, (first, False))
    parts = []
    for width in ("l", "q"):
        header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, len(changes), len(kinds), 4)
        times = b"".join(struct.pack(f">{width}", change.at) for change in changes)
        which = bytes(kinds.index((change.offset, change.dst)) for change in changes)
        infos = b"".join(struct.pack(">lBB", offset, dst, 0) for offset, dst in kinds)
        parts.append(header + times + which + infos + b"LMT\0")
    return b"".join(parts) + b"\n" + footer.encode() + b"\n"
