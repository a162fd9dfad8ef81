"""Instants as text: RFC 3339 on the wire, and the short form that names a slot's run.

Everything Gnomon writes is UTC with milliseconds and `Z`, so that texts of equal length sort like the
instants they name. Everything it reads must carry an offset; the one exception, `once.at`, is read by
`parse_local`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = [
    "EPOCH",
    "bound_ms",
    "format_instant",
    "instant_ms",
    "parse_bound",
    "parse_instant",
    "parse_local",
    "parse_slot_run",
    "slot_run",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Where seconds and milliseconds are counted from."""
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
"""The last millisecond that can be written."""
_MILLISECOND = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)

_DATE_TIME = r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}"
_INSTANT = re.compile(_DATE_TIME + r":\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_LOCAL = re.compile(_DATE_TIME + r"(?::\d{2}(?:\.\d{1,9})?)?", re.ASCII)
_SLOT_RUN = re.compile(r"\d{8}T\d{6}Z", re.ASCII)

_INSTANT_FORM = (
    "a date and time with offset as in RFC 3339, like 2026-09-21T09:00:00Z or 2026-09-21T11:00:00+02:00"
)


def format_instant(instant: datetime | float) -> str:
    """An aware datetime, or milliseconds since 1970, as `2026-09-21T09:00:00.000Z`; microseconds are cut.

    Raises ValueError for a datetime without offset, OverflowError for milliseconds outside the years 1 to
    9999.
    """
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise ValueError(f"{instant!r} has no offset, so it names no instant")
        at = instant if instant.tzinfo is UTC else instant.astimezone(UTC)
        # A quarter of what isoformat takes: a page of a list has hundreds.
        return "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ" % (  # noqa: UP031 - twice as fast as an f-string
            at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond // 1000
        )  # fmt: skip
    return _millisecond_text(int(instant // 1))


@lru_cache(maxsize=1024)
def _millisecond_text(at_ms: int) -> str:
    """A whole millisecond since 1970. What is decided in one turn of a shard shares a few of them."""
    second, millisecond = divmod(at_ms, 1000)
    return f"{_second_text(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=1024)
def _second_text(second: int) -> str:
    """A whole second since 1970 without its zone. Events of one second share it, and there are thousands."""
    return (EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat(timespec="seconds")


def parse_instant(text: str) -> datetime:
    """The aware UTC datetime that an RFC 3339 text names. Raises ValueError, in words, for anything else."""
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(f"{text!r:.80} is not {_INSTANT_FORM}")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r:.80} names no instant ({error}); allowed is {_INSTANT_FORM}") from error


def parse_bound(text: str) -> datetime:
    """An instant by which something is looked for, as `parse_instant` reads it; moved to the first instant of 1970, or
    the last of 9999, where it lies beyond. Nothing that is recorded does, and callers whose language has a least and a
    greatest time send those, near which no reckoning is possible. Raises ValueError."""
    return min(max(parse_instant(text), EPOCH), _LAST)


def bound_ms(text: str) -> int:
    """The same in milliseconds since 1970. Raises ValueError."""
    return (parse_bound(text) - EPOCH) // _MILLISECOND


def parse_local(text: str) -> datetime:
    """The naive datetime of a local `YYYY-MM-DDTHH:MM[:SS[.fraction]]`. Raises ValueError, in words."""
    form = "a local date and time like 2026-09-21T09:00:00, or " + _INSTANT_FORM
    if _LOCAL.fullmatch(text) is None:
        raise ValueError(f"{text!r:.80} is not {form}")
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ValueError(f"{text!r:.80} names no time ({error}); allowed is {form}") from error


def instant_ms(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 text. Raises ValueError like `parse_instant`."""
    return (parse_instant(text) - EPOCH) // _MILLISECOND


def slot_run(nominal: datetime | int) -> str:
    """The run of a slot, `20260921T090000Z`. Its nominal time is aware, or whole seconds since 1970.

    Raises ValueError where the time has no offset or is not a whole second: such a time is nobody's slot.
    """
    if isinstance(nominal, datetime):
        if nominal.tzinfo is None or nominal.microsecond:
            raise ValueError(f"{nominal!r} is not a whole second of a known offset")
        nominal = (nominal - EPOCH) // _SECOND
    return _run_of_second(nominal)


@lru_cache(maxsize=1024)
def _run_of_second(second: int) -> str:
    """The run of a whole second since 1970. Thousands of slots share one."""
    return _second_text(second).replace("-", "").replace(":", "") + "Z"


def parse_slot_run(run: str) -> datetime | None:
    """The nominal time that a run names, or None where the run is not a slot's (`_`, `r-…`, `b-…`)."""
    if _SLOT_RUN.fullmatch(run) is None:
        return None
    try:
        return datetime.strptime(run, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
