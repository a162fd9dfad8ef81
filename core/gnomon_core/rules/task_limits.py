"""What the single fields of a task may hold, beyond their types.

Each check takes the decoded value and its pointer, and returns everything wrong with it. Fields that are not
built yet are refused as `unsupported` when set to anything but their default: silently ignoring them would
promise what nothing keeps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from gnomon_core.rules.decoding import wrong
from gnomon_core.rules.json_schema import pointer
from gnomon_schemas.accounts import PRICE_MAX
from gnomon_schemas.clock_text import EPOCH, parse_instant
from gnomon_schemas.limits import (
    ATTEMPTS_MAX,
    CATCH_UP_LIMIT_MAX,
    CONFIG_MAX,
    DESCRIPTION_MAX_CHARS,
    DURATION_MAX_SECONDS,
    FACTOR_MAX,
    FAILURES_MAX,
    KEY_LIMIT_MAX,
    KEY_MAX_CHARS,
    METADATA_MAX,
    NAME_MAX_CHARS,
    NOT_YET,
    RATE_COUNT_MAX,
    SPAN_MAX_SECONDS,
    TAG_MAX_CHARS,
    TAGS_MAX,
    URL_MAX_CHARS,
    is_id,
)
from gnomon_schemas.problems import Code, FieldError
from gnomon_schemas.tasks import CatchUp, RateLimit, RetryPolicy, TaskHeartbeat

__all__ = [
    "CHECKS",
    "Check",
    "check_object",
    "check_size",
    "check_text",
]

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""All but tab and line feed."""

_URL: Final = re.compile(
    r"https?://(?:[^\s/?#@]+@)?(?:\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::[0-9]{1,5})?(?:[/?#]\S*)?",
    re.ASCII | re.IGNORECASE,
)

Check: TypeAlias = Callable[[Any, str], list[FieldError]]
"""(value, pointer) -> everything wrong with it."""


def check_text(text: str, at: str, *, shortest: int, longest: int) -> list[FieldError]:
    """Length in characters, and no control characters but tab and line feed."""
    if not shortest <= len(text) <= longest:
        return wrong(at, f"has {len(text)} characters; allowed: {shortest} to {longest}")
    control = _CONTROL.search(text)
    if control is not None:
        return wrong(at, f"has the control character {control[0]!r}; allowed is printable text")
    return []


def check_object(raw: msgspec.Raw, at: str, *, largest: int) -> list[FieldError]:
    """A JSON object of at most so many bytes."""
    text = bytes(raw)
    if not text.startswith(b"{"):
        return wrong(at, f"is {text[:40].decode(errors='replace')}; allowed is an object")
    return check_size(len(text), at, largest)


def check_size(size: int, at: str, largest: int) -> list[FieldError]:
    """A size in bytes against the largest that is allowed."""
    if size > largest:
        return wrong(at, f"has {size:,} bytes as JSON; allowed: {largest:,}", Code.TOO_LARGE)
    return []


def _name(text: str, at: str) -> list[FieldError]:
    return check_text(text, at, shortest=1, longest=NAME_MAX_CHARS)


def _description(text: str | None, at: str) -> list[FieldError]:
    return [] if text is None else check_text(text, at, shortest=0, longest=DESCRIPTION_MAX_CHARS)


def _id(text: str | None, at: str) -> list[FieldError]:
    if text is None or is_id(text):
        return []
    return wrong(
        at, f"is {text[:80]!r}; allowed: 1 to 64 of A-Z a-z 0-9 _ -, not beginning with _", Code.INVALID_ID
    )


def _config(raw: msgspec.Raw, at: str) -> list[FieldError]:
    return check_object(raw, at, largest=CONFIG_MAX)


def _tags(tags: tuple[str, ...], at: str) -> list[FieldError]:
    if len(tags) > TAGS_MAX:
        return wrong(at, f"has {len(tags)} tags; allowed: up to {TAGS_MAX}")
    return [
        error
        for index, tag in enumerate(tags)
        for error in check_text(tag, pointer(at, [index]), shortest=1, longest=TAG_MAX_CHARS)
    ]


def _metadata(metadata: dict[str, Any], at: str) -> list[FieldError]:
    return check_size(len(msgspec.json.encode(metadata)), at, METADATA_MAX)


def _number(
    value: float | None, at: str, *, least: float, most: float = math.inf, above: bool = False
) -> list[FieldError]:
    """`above`: the least value itself is not allowed."""
    if value is None or ((value > least if above else value >= least) and value <= most):
        return []
    bound = f"more than {least:g}" if above else f"at least {least:g}"
    return wrong(
        at, f"is {value:g}; allowed: {bound}" + ("" if most == math.inf else f" and at most {most:g}")
    )


def _credits(value: float, at: str) -> list[FieldError]:
    return _number(value, at, least=0, most=PRICE_MAX)


def _timeout(value: float | None, at: str) -> list[FieldError]:
    return _number(value, at, least=0, most=DURATION_MAX_SECONDS, above=True)


def _expires(value: float | None, at: str) -> list[FieldError]:
    return _number(value, at, least=0, most=SPAN_MAX_SECONDS, above=True)


def _instant(text: str | None, at: str) -> list[FieldError]:
    if text is None:
        return []
    try:
        year = parse_instant(text).year
    except ValueError as error:
        return wrong(at, str(error))
    return [] if year >= EPOCH.year else wrong(at, f"is {text}; allowed are the years {EPOCH.year} to 9999")


def _retry(policy: RetryPolicy | None, at: str) -> list[FieldError]:
    if policy is None:
        return []
    return [
        *_number(policy.max_attempts, f"{at}/max_attempts", least=1, most=ATTEMPTS_MAX),
        *_number(policy.initial_seconds, f"{at}/initial_seconds", least=0, most=DURATION_MAX_SECONDS),
        *_number(policy.factor, f"{at}/factor", least=1, most=FACTOR_MAX),
        *_number(policy.max_seconds, f"{at}/max_seconds", least=0, most=DURATION_MAX_SECONDS),
        *_number(policy.jitter, f"{at}/jitter", least=0, most=1),
    ]


def _failures(value: int | None, at: str) -> list[FieldError]:
    return _number(value, at, least=1, most=FAILURES_MAX)


def _key(text: str | None, at: str) -> list[FieldError]:
    return [] if text is None else check_text(text, at, shortest=1, longest=KEY_MAX_CHARS)


def _key_limit(value: int, at: str) -> list[FieldError]:
    return _number(value, at, least=1, most=KEY_LIMIT_MAX)


def _rate(rate: RateLimit | None, at: str) -> list[FieldError]:
    if rate is None:
        return []
    return [
        *_number(rate.count, f"{at}/count", least=1, most=RATE_COUNT_MAX),
        *_number(rate.per_seconds, f"{at}/per_seconds", least=0, most=SPAN_MAX_SECONDS, above=True),
    ]


def _heartbeat(heartbeat: TaskHeartbeat | None, at: str) -> list[FieldError]:
    if heartbeat is None:
        return []
    return [
        *_url(heartbeat.url, f"{at}/url"),
        *_number(heartbeat.every_seconds, f"{at}/every_seconds", least=10, most=86_400),
        *_number(heartbeat.within_seconds, f"{at}/within_seconds", least=0, most=SPAN_MAX_SECONDS),
    ]


def _url(url: str | None, at: str) -> list[FieldError]:
    if url is None:
        return []
    if len(url) <= URL_MAX_CHARS and _URL.fullmatch(url) is not None:
        return []
    allowed = f"http://… or https://… of up to {URL_MAX_CHARS} characters"
    return wrong(at, f"is {url[:80]!r}; allowed: {allowed}")


def _catch_up(catch_up: CatchUp, at: str) -> list[FieldError]:
    return [
        *_number(catch_up.after_seconds, f"{at}/after_seconds", least=0, most=SPAN_MAX_SECONDS),
        *_number(catch_up.grace_seconds, f"{at}/grace_seconds", least=0, most=SPAN_MAX_SECONDS),
        *_number(catch_up.limit, f"{at}/limit", least=1, most=CATCH_UP_LIMIT_MAX),
    ]


def _unsupported(at: str, given: str, allowed: str) -> list[FieldError]:
    return wrong(at, f"is {given}, which is not supported yet; allowed: {allowed}", Code.UNSUPPORTED)


def _only(default: Any) -> Check:
    """A field that may hold nothing but its default for now."""

    def check(value: Any, at: str) -> list[FieldError]:
        shown = msgspec.json.encode(default).decode()
        return [] if value == default else _unsupported(at, "set", f"{shown} or leaving it out")

    return check


CHECKS: Final[dict[str, Check]] = {
    "name": _name,
    "description": _description,
    "task_type": _id,
    "config": _config,
    "template_id": _id,
    "pool": _id,
    "tags": _tags,
    "metadata": _metadata,
    "credits_per_run": _credits,
    "due_date": _instant,
    "reminder_time": _instant,
    "timeout_seconds": _timeout,
    "total_timeout_seconds": _timeout,
    "retry": _retry,
    "catch_up": _catch_up,
    "expires_seconds": _expires,
    "max_consecutive_failures": _failures,
    "concurrency_key": _key,
    "concurrency_limit": _key_limit,
    "rate_limit": _rate,
    "unique_for_seconds": _expires,
    "lateness_slo_seconds": _expires,
    "heartbeat": _heartbeat,
    **{name: _only(default) for name, default in NOT_YET.items()},
}
"""Field of a TaskSpec to its check. A field without one is right as soon as its type is."""
