"""What callers send of a pause."""

from __future__ import annotations

from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.commands import PauseTask

__all__ = ["parse_pause"]


def parse_pause(data: bytes, *, now_ms: int) -> PauseTask:
    """The body of `pause`, its `until` an instant after `now_ms` (epoch milliseconds). Raises Refused."""
    pause = parse_body(data, PauseTask)
    if pause.until is not None:
        message = _wrong_until(pause.until, now_ms)
        refuse(wrong("#/until", message) if message else [])
    return pause


def _wrong_until(text: str, now_ms: int) -> str | None:
    try:
        until_ms = instant_ms(text)
    except ValueError as error:
        return str(error)
    if until_ms <= now_ms:
        return f"is {text[:80]!r}; allowed is a time after now, {format_instant(now_ms)}"
    return None
