"""Analytics over HTTP. A report is answered again for up to five minutes; `Age` tells how old it is."""

from __future__ import annotations

from typing import Any, Final

from litestar import get

from gnomon_api.analytics_queries import ANALYTICS_KEPT_SECONDS, Aged
from gnomon_api.http_io import HttpRequest, HttpResponse, caller, json_response, services
from gnomon_api.identity import check_user_id
from gnomon_api.routes.commands import no_params
from gnomon_core.rules.decoding import refuse
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.zones import zone

__all__ = ["ANALYTICS_ROUTES", "DAYS_DEFAULT", "DAYS_MAX", "read_platform_analytics", "read_task_analytics"]

DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 366


@get("/tasks/analytics")
async def read_task_analytics(request: HttpRequest) -> HttpResponse:
    """What the caller's tasks did; an admin may ask for another user's."""
    no_params(request, "days", "timezone", "user_id")
    api, who = services(request), caller(request)
    user_id = who.user_id
    asked = request.query_params.get("user_id")
    if asked is not None:
        asked = check_user_id(asked, "user_id")
        if asked != who.user_id and not who.admin:
            raise Refused(Code.FORBIDDEN, "another user's analytics are for the role admin")
        user_id = asked
    days, timezone = _asked(request)
    return _answer(await api.analytics.of_user(user_id, days, timezone, fresh=_fresh(request)))


@get("/analytics/platform")
async def read_platform_analytics(request: HttpRequest) -> HttpResponse:
    """What the whole platform did; for admins."""
    no_params(request, "days", "timezone")
    api = services(request)
    if not caller(request).admin:
        raise Refused(Code.FORBIDDEN, "the platform's analytics are for the role admin")
    days, timezone = _asked(request)
    return _answer(await api.analytics.of_platform(days, timezone, fresh=_fresh(request)))


ANALYTICS_ROUTES: list[Any] = [read_task_analytics, read_platform_analytics]


def _answer(found: Aged) -> HttpResponse:
    headers = {"Age": str(found.age), "Cache-Control": f"private, max-age={ANALYTICS_KEPT_SECONDS}"}
    return json_response(found.report, headers=headers)


def _fresh(request: HttpRequest) -> bool:
    """Whether the caller will not have an answer made earlier (RFC 9111, section 5.2.1.4)."""
    return "no-cache" in request.headers.get("cache-control", "").lower()


def _asked(request: HttpRequest) -> tuple[int, str]:
    """Days and zone. Raises Refused."""
    errors: list[FieldError] = []
    text = request.query_params.get("days", str(DAYS_DEFAULT))
    days = int(text) if text.isascii() and text.isdigit() and len(text) < 5 else 0
    if not 1 <= days <= DAYS_MAX:
        errors.append(_wrong("days", f"is {text[:80]!r}; allowed: 1 to {DAYS_MAX}"))
    timezone = request.query_params.get("timezone", services(request).settings.timezone)
    try:
        zone(timezone)
    except ValueError as error:
        errors.append(_wrong("timezone", str(error)))
    refuse(errors)
    return days, timezone


def _wrong(name: str, message: str) -> FieldError:
    return FieldError(pointer=f"#/{name}", code=Code.INVALID, message=message)
