"""The forecast over HTTP: planned fires, and those of schedules that do not exist yet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from litestar import get, post

from gnomon_api.forecasting import Forecasting, Planned
from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    json_response,
    params_of,
    services,
)
from gnomon_api.parameters import Parameters
from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_core.rules.schedule_input import read_input, stored_form
from gnomon_schemas.problems import FieldError
from gnomon_schemas.schedule_kinds import LAST_YEAR

__all__ = [
    "BUCKETS_MAX",
    "BUCKET_DEFAULT",
    "FORECAST_ROUTES",
    "TOLERANCE_DEFAULT",
    "ForecastInput",
    "PlannedInput",
    "forecast",
    "forecast_with",
]

BUCKET_DEFAULT: Final = 3600
BUCKETS_MAX: Final = 10_000
TOLERANCE_DEFAULT: Final = 60
_END: Final = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp())
_SPAN_DEFAULT: Final = 86_400
_SPAN_MAX: Final = 92 * 86_400
_TOLERANCE_MAX: Final = 86_400
_TASKS_MAX: Final = 10_000_000
_ADDED_MAX: Final = 1000


class PlannedInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule that so many tasks would have."""

    schedule: msgspec.Raw
    tasks: int = 1
    """1 to 10,000,000."""
    lateness_slo_seconds: float | None = None
    """So late each of them may be, 0 to 86,400; None: `tolerance` of the request."""


class ForecastInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to add to the schedules that there are."""

    add: tuple[PlannedInput, ...]
    """At most 1,000."""


@get("/forecast")
async def forecast(request: HttpRequest) -> HttpResponse:
    """Planned fires per bucket over all schedules, and the minutes in which most of them come together."""
    return await _answer(request, ())


@post("/forecast", status_code=200)
async def forecast_with(request: HttpRequest) -> HttpResponse:
    """The same with schedules that do not exist yet; nothing is stored."""
    given = parse_body(body_of(await request.body()), ForecastInput)
    api = services(request)
    errors: list[FieldError] = []
    planned: list[Planned] = []
    if len(given.add) > _ADDED_MAX:
        errors += wrong("#/add", f"has {len(given.add)} schedules; allowed: {_ADDED_MAX}")
    for index, one in enumerate(given.add[:_ADDED_MAX]):
        at = f"#/add/{index}"
        if not 1 <= one.tasks <= _TASKS_MAX:
            errors += wrong(f"{at}/tasks", f"is {one.tasks}; allowed: 1 to {_TASKS_MAX}")
        slo = one.lateness_slo_seconds
        if slo is not None and not 0 <= slo <= _TOLERANCE_MAX:
            errors += wrong(f"{at}/lateness_slo_seconds", f"is {slo:g}; allowed: 0 to {_TOLERANCE_MAX}")
        schedule, faults = read_input(one.schedule, f"{at}/schedule")
        if schedule is not None:
            schedule, faults = stored_form(
                schedule,
                now_ms=None,
                created_at_ms=api.clock.now_ms(),
                default_timezone=api.settings.timezone,
                at=f"{at}/schedule",
            )
        elif not faults:
            faults = wrong(f"{at}/schedule", "is null; allowed is a schedule")
        errors += faults
        if schedule is not None:
            planned.append(Planned(schedule, one.tasks, slo))
    refuse(errors)
    return await _answer(request, planned)


FORECAST_ROUTES: list[Any] = [forecast, forecast_with]


async def _answer(request: HttpRequest, besides: list[Planned] | tuple[Planned, ...]) -> HttpResponse:
    params = Parameters(params_of(request), "from", "to", "bucket", "tolerance")
    api, who = services(request), caller(request)
    bucket = _seconds(params, "bucket", BUCKET_DEFAULT, 60, _SPAN_MAX)
    tolerance = _seconds(params, "tolerance", TOLERANCE_DEFAULT, 0, _TOLERANCE_MAX)
    start = _minute(params, "from", api.clock.now_ms() // 60_000 * 60)
    end = _minute(params, "to", start + _SPAN_DEFAULT)
    if bucket % 60:
        params.wrong("bucket", f"is {bucket}; allowed are whole minutes, as 3600")
    if params.right and start >= _END:
        params.wrong("from", f"lies beyond the year {LAST_YEAR}, the last that schedules speak of")
    if params.right and not start < end <= start + _SPAN_MAX:
        params.wrong("to", "has to lie after from, and at most 92 days after it")
    buckets = -(-(end - start) // bucket)
    if params.right and buckets > BUCKETS_MAX:
        params.wrong("bucket", f"makes {buckets} buckets; allowed: {BUCKETS_MAX}")
    params.refuse()
    report = await Forecasting(api.database, api.calendars).forecast(
        start,
        bucket,
        buckets,
        tolerance_seconds=tolerance,
        user_id=None if who.admin else who.user_id,
        besides=besides,
    )
    return json_response(report)


def _seconds(params: Parameters, name: str, default: int, least: int, most: int) -> int:
    found = params.number(name, least, most, allowed=f"{least} to {most} seconds")
    return default if found is None else found


def _minute(params: Parameters, name: str, default: int) -> int:
    """An instant in seconds since 1970, cut to the minute."""
    at_ms = params.instant_ms(name)
    return default if at_ms is None else at_ms // 60_000 * 60
