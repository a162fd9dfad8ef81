"""How a handler ended, in a form that can leave its thread or process: JSON and plain values only.

Encoding happens where the handler ran, so a large result does not hold up the loop that keeps the claims
alive.
"""

from __future__ import annotations

import re
import traceback
from typing import Any, Final, Literal

import msgspec

from gnomon import DoNotRetry, Retry
from gnomon_core.rules.decoding import DEPTH_MAX
from gnomon_schemas.events import ErrorInfo
from gnomon_schemas.limits import ERROR_TEXT_MAX, RESULT_MAX
from gnomon_schemas.tasks import NULL

__all__ = [
    "HandlerEnd",
    "Usage",
    "bad_config",
    "cut_text",
    "error_info",
    "json_fault",
    "raised",
    "returned",
    "too_deep",
    "worker_died",
]

How = Literal["returned", "raised", "retry", "do_not_retry"]

_CUT: Final = "… [cut]"
_KEPT_SHARE: Final = 0.75
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')
"""Strings, so that brackets inside them do not count, and brackets."""


class Usage(msgspec.Struct):
    """What a run consumed, as its handler counted it."""

    tokens: int = 0
    api_calls: int = 0
    credits: float = 0.0


class HandlerEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a handler ended."""

    how: How
    result: msgspec.Raw = NULL
    truncated: bool = False
    """The result was longer than is kept; `result` tells how long and holds the beginning as text."""
    error: ErrorInfo | None = None
    retry_after: float | None = None
    """Seconds, where the handler asked for a delay of its own."""
    usage: Usage = msgspec.field(default_factory=Usage)


_encode = msgspec.json.Encoder().encode


def returned(value: Any, usage: Usage) -> HandlerEnd:
    """The end of a handler that returned. A value without a JSON form makes it a failure that says so."""
    if value is None:
        return HandlerEnd(how="returned", usage=usage)
    try:
        encoded = _encode(value)
    except Exception as failure:  # noqa: BLE001 - a value's own methods may raise anything; all of it means the same
        message = (
            f"the handler returned {type(value).__qualname__}, which cannot be written as JSON: {failure}"
        )
        return HandlerEnd(
            how="do_not_retry",
            error=ErrorInfo(type="ResultNotEncodable", message=cut_text(message)),
            usage=usage,
        )
    if too_deep(encoded):
        message = f"the handler returned a value that is nested more than {DEPTH_MAX} levels deep"
        error = ErrorInfo(type="ResultNotEncodable", message=message)
        return HandlerEnd(how="do_not_retry", error=error, usage=usage)
    if len(encoded) > RESULT_MAX:
        return HandlerEnd(
            how="returned", result=msgspec.Raw(_cut_result(encoded)), truncated=True, usage=usage
        )
    if (fault := json_fault(encoded)) is not None:
        message = f"the handler returned {type(value).__qualname__}, which is no JSON within: {fault}"
        error = ErrorInfo(type="ResultNotEncodable", message=cut_text(message))
        return HandlerEnd(how="do_not_retry", error=error, usage=usage)
    return HandlerEnd(how="returned", result=msgspec.Raw(encoded), usage=usage)


def raised(error: BaseException, usage: Usage) -> HandlerEnd:
    """The end of a handler that raised."""
    if isinstance(error, Retry):
        return HandlerEnd(how="retry", error=error_info(error), retry_after=error.after_seconds, usage=usage)
    if isinstance(error, DoNotRetry):
        return HandlerEnd(how="do_not_retry", error=error_info(error), usage=usage)
    return HandlerEnd(how="raised", error=error_info(error), usage=usage)


def bad_config(error: Exception) -> HandlerEnd:
    """The end of an attempt whose config does not fit its handler: no further attempt would find another
    config."""
    message = f"the config does not fit the task type: {error}"
    return HandlerEnd(how="do_not_retry", error=ErrorInfo(type="InvalidConfig", message=cut_text(message)))


def worker_died(status: str) -> HandlerEnd:
    """The end of an attempt whose worker process ended under it."""
    message = f"the worker process ended before the handler did ({status})"
    return HandlerEnd(how="raised", error=ErrorInfo(type="WorkerProcessDied", message=message))


def error_info(error: BaseException) -> ErrorInfo:
    """An exception as it is recorded.

    A `Retry` or `DoNotRetry` that was raised from another error tells of that one. The traceback is left out
    where the handler only told its decision. A dict in the exception's `details` is kept, where it is JSON
    and not too long.
    """
    if isinstance(error, Retry | DoNotRetry) and error.__cause__ is not None:
        error = error.__cause__
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "gnomon.decisions")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return ErrorInfo(
        type=name,
        message=cut_text(_message(error)),
        traceback=None if isinstance(error, Retry | DoNotRetry) else _traceback(error),
        details=_details(error),
    )


def cut_text(text: str, limit: int = ERROR_TEXT_MAX) -> str:
    """Text of at most `limit` bytes as UTF-8, with a mark where its end was cut off."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT


def json_fault(encoded: bytes) -> str | None:
    """What is wrong with JSON of which a handler made parts by itself, as `msgspec.Raw`; None: nothing. An event, or
    a message of log lines, with such a part in it nobody could read."""
    try:
        msgspec.json.decode(encoded)
    except ValueError as error:
        return str(error)
    return None


def too_deep(encoded: bytes) -> bool:
    """Whether JSON is nested deeper than every reader is sure to manage."""
    if encoded.count(b"{") + encoded.count(b"[") <= DEPTH_MAX:
        return False
    depth = 0
    for token in _STRUCTURE.finditer(encoded):
        mark = token[0][:1]
        if mark in b"{[":
            depth += 1
            if depth > DEPTH_MAX:
                return True
        elif mark in b"}]":
            depth -= 1
    return False


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"(its message cannot be shown: {type(second).__qualname__})"


def _details(error: BaseException) -> dict[str, Any] | None:
    details = getattr(error, "details", None)
    if not isinstance(details, dict):
        return None
    try:
        encoded = _encode(details)
        kept: dict[str, Any] = msgspec.json.decode(encoded)
    except Exception:  # noqa: BLE001 - a user's own values may raise anything
        return {"note": "the details cannot be written as JSON"}
    return (
        kept
        if len(encoded) <= ERROR_TEXT_MAX
        else {"note": f"the details were too long ({len(encoded)} bytes)"}
    )


def _traceback(error: BaseException) -> str:
    """The innermost part counts, so what is too long loses its beginning."""
    try:
        data = "".join(traceback.format_exception(error)).encode("utf-8", "replace")
    except Exception as second:  # noqa: BLE001 - formatting calls the user's own __str__ and __repr__
        return f"(the traceback cannot be shown: {type(second).__qualname__})"
    if len(data) <= ERROR_TEXT_MAX:
        return data.decode()
    mark = "[cut] …"
    return mark + data[len(mark.encode()) - ERROR_TEXT_MAX :].decode("utf-8", "ignore")


def _cut_result(encoded: bytes) -> bytes:
    """What is kept of a result that is too long: valid JSON, at most RESULT_MAX bytes, that says what it
    is."""
    head = encoded[: int(RESULT_MAX * _KEPT_SHARE)].decode("utf-8", "ignore")
    while True:
        kept = _encode({"truncated": True, "bytes": len(encoded), "head": head})
        if len(kept) <= RESULT_MAX:
            return kept
        # Quotes and backslashes take two bytes inside a JSON text.
        head = head[: int(len(head) * _KEPT_SHARE)]
