"""Analytics over HTTP. A report is answered again for up to five minutes; `Age` tells how old it is."""

from __future__ import annotations

from typing import Any, Final

from litestar import get

from gnomon_api.analytics_queries import ANALYTICS_KEPT_SECONDS, Aged
from gnomon_api.http_io import HttpRequest, HttpResponse, caller, json_response, params_of, services
from gnomon_api.identity import check_user_id
from gnomon_api.parameters import Parameters
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.zones import zone

__all__ = ["ANALYTICS_ROUTES", "DAYS_DEFAULT", "DAYS_MAX", "read_platform_analytics", "read_task_analytics"]

DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 366


@get("/tasks/analytics")
async def read_task_analytics(request: HttpRequest) -> HttpResponse:
    """What the caller's tasks did; an admin may ask for another user's."""
    params = Parameters(params_of(request), "days", "timezone", "user_id")
    api, who = services(request), caller(request)
    user_id = who.user_id
    asked = params.text("user_id")
    if asked is not None:
        asked = check_user_id(asked, "user_id")
        if asked != who.user_id and not who.admin:
            raise Refused(Code.FORBIDDEN, "another user's analytics are for the role admin")
        user_id = asked
    days, timezone = _asked(params, api.settings.timezone)
    return _answer(await api.analytics.of_user(user_id, days, timezone, fresh=_fresh(request)))


@get("/analytics/platform")
async def read_platform_analytics(request: HttpRequest) -> HttpResponse:
    """What the whole platform did; for admins."""
    params = Parameters(params_of(request), "days", "timezone")
    api = services(request)
    if not caller(request).admin:
        raise Refused(Code.FORBIDDEN, "the platform's analytics are for the role admin")
    days, timezone = _asked(params, api.settings.timezone)
    return _answer(await api.analytics.of_platform(days, timezone, fresh=_fresh(request)))


ANALYTICS_ROUTES: list[Any] = [read_task_analytics, read_platform_analytics]


def _answer(found: Aged) -> HttpResponse:
    headers = {"Age": str(found.age), "Cache-Control": f"private, max-age={ANALYTICS_KEPT_SECONDS}"}
    return json_response(found.report, headers=headers)


def _fresh(request: HttpRequest) -> bool:
    """Whether the caller will not have an answer made earlier (RFC 9111, section 5.2.1.4)."""
    return "no-cache" in request.headers.get("cache-control", "").lower()


def _asked(params: Parameters, default_timezone: str) -> tuple[int, str]:
    """Days and zone. Raises Refused."""
    days = params.number("days", 1, DAYS_MAX) or DAYS_DEFAULT
    timezone = params.text("timezone") or default_timezone
    try:
        zone(timezone)
    except ValueError as error:
        params.wrong("timezone", str(error))
    params.refuse()
    return days, timezone
