"""What callers send of a backfill: the span of the past that is to be run, or the id of one that is to be stopped.

The api and the shard read it with the same functions, so that both refuse the same inputs with the same words. Whether
the slots that a command lists are slots of the schedule is the shard's to check.
"""

from __future__ import annotations

from typing import Final

from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_core.rules.json_schema import pointer
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.commands import BackfillTask
from gnomon_schemas.limits import (
    BACKFILL_CONCURRENCY_MAX,
    BACKFILL_SLOTS_MAX,
    BACKFILL_TOTAL_MAX,
    is_id,
)
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.workless import WORKLESS

__all__ = [
    "check_can_backfill",
    "check_concurrency",
    "check_slot_count",
    "check_total",
    "parse_backfill",
    "read_span",
]

_ABOUT_A_SPAN: Final = ("from", "to", "slots")


def parse_backfill(data: bytes, *, now_ms: int) -> BackfillTask:
    """The body of `backfill`, checked as far as that goes without the task. Raises Refused with every error."""
    payload = parse_body(data, BackfillTask)
    if payload.cancel is not None:
        refuse(_cancel_errors(payload.cancel, payload))
        return payload
    span, errors = read_span(payload.from_, payload.to, now_ms)
    errors += check_concurrency(payload.concurrency)
    if payload.slots is not None:
        errors += check_slot_count(len(payload.slots)) or _slot_errors(payload.slots, span)
    elif payload.only == "gaps":
        errors += wrong(
            "#/slots",
            "is left out; under 'gaps' whoever sends the command lists the slots without a success, which the HTTP API "
            "does by itself; allowed besides: only 'all'",
        )
    refuse(errors)
    return payload


def read_span(
    from_: str | None, to: str | None, now_ms: int
) -> tuple[tuple[int, int] | None, list[FieldError]]:
    """A half-open span of the past, as the first second of it and the first one after it; or all that is wrong."""
    start, errors = _second("#/from", from_)
    end, wrong_end = _second("#/to", to)
    errors += wrong_end
    if start is None or end is None:
        return None, errors
    if to is not None and instant_ms(to) > now_ms:
        errors += wrong("#/to", f"is {to}, which is not in the past; allowed: up to now")
    elif start >= end:
        errors += wrong("#/to", f"is {to}, which is not after from, {from_}: the span is empty")
    return (start, end) if not errors else None, errors


def check_concurrency(concurrency: int) -> list[FieldError]:
    """How many runs of a backfill may be in flight at a time."""
    if 1 <= concurrency <= BACKFILL_CONCURRENCY_MAX:
        return []
    return wrong("#/concurrency", f"is {concurrency}; allowed: 1 to {BACKFILL_CONCURRENCY_MAX}")


def check_slot_count(count: int) -> list[FieldError]:
    """How many slots a backfill may list."""
    if 1 <= count <= BACKFILL_SLOTS_MAX:
        return []
    return wrong("#/slots", f"has {count:,} slots; allowed: 1 to {BACKFILL_SLOTS_MAX:,}")


def check_total(total: int) -> list[FieldError]:
    """How many slots may lie in the span of a backfill, or in its list."""
    if total == 0:
        return wrong("#/from", "the task's schedule has no slot between `from` and `to`")
    if total > BACKFILL_TOTAL_MAX:
        message = f"{total:,} slots lie between `from` and `to`; allowed: up to {BACKFILL_TOTAL_MAX:,}"
        return wrong("#/from", message, Code.LIMIT)
    return []


def check_can_backfill(task_type: str, *, scheduled: bool, cancelled: bool) -> None:
    """Refuse a backfill of a task that has no slots, that runs nothing, or runs no more. Raises Refused."""
    if task_type in WORKLESS:
        raise Refused(Code.INVALID_STATE, f"a {task_type} runs nothing: there is nothing to make up for")
    if cancelled:
        raise Refused(Code.INVALID_STATE, "the task is cancelled; it does not run any more")
    if not scheduled:
        raise Refused(Code.INVALID_STATE, "the task has no schedule, so it has no slots to run")


def _cancel_errors(backfill_id: str, payload: BackfillTask) -> list[FieldError]:
    errors = [
        error
        for name, value in zip(_ABOUT_A_SPAN, (payload.from_, payload.to, payload.slots), strict=True)
        if value is not None
        for error in wrong(f"#/{name}", "is given with cancel; allowed is one of them")
    ]
    if not is_id(backfill_id):
        errors += wrong(
            "#/cancel", f"is {backfill_id[:80]!r}; allowed is the id of a backfill", Code.INVALID_ID
        )
    return errors


def _slot_errors(slots: tuple[str, ...], span: tuple[int, int] | None) -> list[FieldError]:
    errors = []
    for index, text in enumerate(slots):
        at = pointer("#/slots", [index])
        try:
            slot_ms = instant_ms(text)
        except ValueError as error:
            errors += wrong(at, str(error))
            continue
        if slot_ms % 1000:
            errors += wrong(at, f"is {text}, which is not a whole second: no slot is there")
        elif span is not None and not span[0] <= slot_ms // 1000 < span[1]:
            errors += wrong(at, f"is {text}, which is not in the span")
    return errors


def _second(at: str, text: str | None) -> tuple[int | None, list[FieldError]]:
    """The first whole second that does not lie before an instant."""
    if text is None:
        return None, wrong(at, "this field is required")
    try:
        return -(-instant_ms(text) // 1000), []
    except ValueError as error:
        return None, wrong(at, str(error))
