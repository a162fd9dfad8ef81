"""What callers send of a calendar of blackouts, made into a `CalendarSpec` in the form in which it is kept.

Shard and api ask the same functions, so both refuse the same inputs with the same words. In the kept form the zone is
named, instants are in UTC, and schedules are in their stored form; no slot of theirs depends on when it is asked for.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gnomon_core.rules.decoding import refuse, wrong
from gnomon_core.rules.json_schema import pointer
from gnomon_core.rules.schedule_input import stored_form
from gnomon_core.rules.struct_fields import StructFields
from gnomon_core.rules.task_limits import CHECKS, check_size, check_text
from gnomon_schemas.blackouts import CALENDAR_SYSTEM_FIELDS, CalendarSpec, RecurringSpan, Selector, Span
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.limits import (
    CALENDAR_MAX,
    CALENDAR_RECURRING_MAX,
    CALENDAR_SPANS_MAX,
    NAME_MAX_CHARS,
    SELECTED_MAX,
    SPAN_MAX_SECONDS,
    USER_ID_MAX_CHARS,
    is_id,
)
from gnomon_schemas.problems import FieldError
from gnomon_schemas.zones import zone

__all__ = ["changed_calendar_fields", "parse_calendar", "parse_calendar_patch"]

_FIELDS: Final = StructFields(CalendarSpec, system=CALENDAR_SYSTEM_FIELDS)


def parse_calendar(data: bytes, *, now_ms: int, default_timezone: str) -> CalendarSpec:
    """The spec of a new calendar. Fields that only the system sets are ignored. Raises Refused with every error.

    `now_ms` anchors an interval without anchor.
    """
    given = _FIELDS.given(data)
    values, errors = _FIELDS.decode(given)
    refuse(errors + _FIELDS.missing(given))
    return _settled(CalendarSpec(**values), now_ms, default_timezone)


def parse_calendar_patch(
    data: bytes, current: CalendarSpec, *, now_ms: int, default_timezone: str
) -> CalendarSpec:
    """The spec after a merge patch; `current` itself when the patch changes nothing. Null takes a field back to its
    default. Raises Refused with every error."""
    sets, defaults, nulls = _FIELDS.split(_FIELDS.given(data))
    values, errors = _FIELDS.decode(sets)
    refuse(errors + nulls)
    patched = msgspec.structs.replace(current, **values, **defaults)
    changed = _settled(patched, now_ms, default_timezone)
    return changed if changed_calendar_fields(current, changed) else current


def changed_calendar_fields(old: CalendarSpec, new: CalendarSpec) -> tuple[str, ...]:
    """Names of the fields in which two specs differ as JSON values, in the order of the Struct."""
    return _FIELDS.changed(old, new)


def _settled(spec: CalendarSpec, now_ms: int, default_timezone: str) -> CalendarSpec:
    """The kept form. Raises Refused with everything that is wrong beyond the types of fields."""
    timezone = default_timezone if spec.timezone is None else spec.timezone
    errors = [
        *CHECKS["name"](spec.name, "#/name"),
        *CHECKS["description"](spec.description, "#/description"),
        *_check_zone(timezone),
        *_check_selector(spec.selector),
        *_check_count(spec.spans, "#/spans", CALENDAR_SPANS_MAX),
        *_check_count(spec.recurring, "#/recurring", CALENDAR_RECURRING_MAX),
    ]
    refuse(errors)
    spans, errors = _settle_spans(spec.spans)
    recurring, wrong_ones = _settle_recurring(spec.recurring, now_ms, timezone)
    expanded, wrong_end = _settle_instant(spec.expanded_until, "#/expanded_until")
    refuse([*errors, *wrong_ones, *wrong_end])
    settled = msgspec.structs.replace(
        spec, timezone=timezone, spans=spans, recurring=recurring, expanded_until=expanded
    )
    refuse(check_size(len(msgspec.json.encode(settled)), "#", CALENDAR_MAX))
    return settled


def _check_zone(name: str) -> list[FieldError]:
    try:
        zone(name)
    except ValueError as error:
        return wrong("#/timezone", str(error))
    return []


def _check_count(items: tuple[Any, ...], at: str, most: int) -> list[FieldError]:
    return wrong(at, f"has {len(items)} items; allowed: up to {most:,}") if len(items) > most else []


def _check_selector(selector: Selector) -> list[FieldError]:
    at = "#/selector"
    errors = CHECKS["tags"](selector.tags, f"{at}/tags")
    for name, items in (("task_types", selector.task_types), ("user_ids", selector.user_ids)):
        errors += _check_count(items, f"{at}/{name}", SELECTED_MAX)
    for index, name in enumerate(selector.task_types):
        if not is_id(name):
            errors += wrong(f"{at}/task_types/{index}", f"is {name[:80]!r}, which is no name of a task type")
    for index, user in enumerate(selector.user_ids):
        errors += check_text(user, f"{at}/user_ids/{index}", shortest=1, longest=USER_ID_MAX_CHARS)
    return errors


def _settle_spans(spans: tuple[Span, ...]) -> tuple[tuple[Span, ...], list[FieldError]]:
    kept: list[Span] = []
    errors: list[FieldError] = []
    for index, span in enumerate(spans):
        at = pointer("#/spans", [index])
        start, wrong_start = _settle_instant(span.from_, f"{at}/from")
        end, wrong_end = _settle_instant(span.to, f"{at}/to")
        errors += [*wrong_start, *wrong_end, *_check_label(span.name, at)]
        if start is None or end is None:
            continue
        seconds = (instant_ms(end) - instant_ms(start)) / 1000
        if not 0 < seconds <= SPAN_MAX_SECONDS:
            errors += wrong(
                f"{at}/to",
                f"is {span.to[:40]}, {seconds:g} seconds after from; allowed: more than 0, up to {SPAN_MAX_SECONDS:,}",
            )
        kept.append(Span(from_=start, to=end, name=span.name))
    return tuple(kept), errors


def _settle_recurring(
    recurring: tuple[RecurringSpan, ...], now_ms: int, timezone: str
) -> tuple[tuple[RecurringSpan, ...], list[FieldError]]:
    kept: list[RecurringSpan] = []
    errors: list[FieldError] = []
    for index, part in enumerate(recurring):
        at = pointer("#/recurring", [index])
        errors += _check_label(part.name, at)
        if not 1 <= part.duration_seconds <= SPAN_MAX_SECONDS:
            errors += wrong(
                f"{at}/duration_seconds", f"is {part.duration_seconds}; allowed: 1 to {SPAN_MAX_SECONDS:,}"
            )
        for name in ("jitter_seconds", "max_runs"):
            if getattr(part.schedule, name):
                errors += wrong(f"{at}/schedule/{name}", "is set; the schedule of a blackout has none")
        schedule, faults = stored_form(
            part.schedule,
            now_ms=None,
            created_at_ms=now_ms,
            default_timezone=timezone,
            at=f"{at}/schedule",
        )
        errors += faults
        if schedule is None:
            continue
        kept.append(msgspec.structs.replace(part, schedule=schedule))
    return tuple(kept), errors


def _check_label(name: str | None, at: str) -> list[FieldError]:
    return [] if name is None else check_text(name, f"{at}/name", shortest=1, longest=NAME_MAX_CHARS)


def _settle_instant(text: str | None, at: str) -> tuple[str | None, list[FieldError]]:
    if text is None:
        return None, []
    try:
        return format_instant(instant_ms(text)), []
    except ValueError as error:
        return None, wrong(at, str(error))
