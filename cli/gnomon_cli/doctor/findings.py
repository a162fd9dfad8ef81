"""What the doctor says: one finding for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

__all__ = ["Finding", "Status", "fail", "ok", "unknown", "warn", "worst"]

Status = Literal["ok", "unknown", "warn", "fail"]
_ORDER: tuple[Status, ...] = ("ok", "unknown", "warn", "fail")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    check: str
    """Stable name, as `nats.version`."""
    status: Status
    """`fail`: work does not get done, or not safely. `warn`: it does, and something should be done all the same.
    `unknown`: it cannot be seen from here."""
    saw: str
    """What was seen."""
    do: str = ""
    """What to do about it; empty where nothing is to be done."""


def ok(check: str, saw: str) -> Finding:
    """All is well."""
    return Finding(check=check, status="ok", saw=saw)


def unknown(check: str, saw: str, do: str = "") -> Finding:
    """It cannot be seen from here."""
    return Finding(check=check, status="unknown", saw=saw, do=do)


def warn(check: str, saw: str, do: str) -> Finding:
    """It works, and something should be done."""
    return Finding(check=check, status="warn", saw=saw, do=do)


def fail(check: str, saw: str, do: str) -> Finding:
    """It does not work."""
    return Finding(check=check, status="fail", saw=saw, do=do)


def worst(findings: Iterable[Finding]) -> Status:
    """The worst status among them; `ok` for none."""
    return max((finding.status for finding in findings), key=_ORDER.index, default="ok")
