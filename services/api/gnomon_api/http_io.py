"""Requests in, responses out: what every route does the same way."""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from litestar import Request, Response

from gnomon_api.identity import USER_HEADER, Caller, caller_of
from gnomon_api.parameters import with_plus
from gnomon_api.services import ApiServices
from gnomon_core.rules.decoding import read_object
from gnomon_core.runtime.tracing import new_traceparent, trace_id_of
from gnomon_schemas.clock_text import bound_ms
from gnomon_schemas.limits import COMMAND_MAX, RESERVED_IDS, is_id
from gnomon_schemas.problems import Code, FieldError, Problem, Refused

__all__ = [
    "API",
    "BODY_MAX",
    "ENCODED_SLASH",
    "TRACE_KEY",
    "HttpRequest",
    "HttpResponse",
    "body_of",
    "caller",
    "checked_id",
    "chosen_id",
    "execution_parts",
    "flag",
    "instant_param",
    "json_response",
    "params_of",
    "problem_response",
    "services",
    "traceparent",
    "wait_seconds",
]

API: Final = "/api/v1"
BODY_MAX: Final = COMMAND_MAX
"""Largest body of a request."""
PROBLEM_TYPE: Final = "application/problem+json"
_RETRY_AFTER_SECONDS: Final = 2
ENCODED_SLASH: Final = "\x1f"
"""What the edge puts into the path of an account for a slash that was sent as `%2F`: there it is part of a user id,
which may have slashes, and no end of a segment. No user id has this character."""
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
TRACE_KEY: Final = "gnomon.traceparent"
"""Where the edge puts a request's `traceparent`, in its scope."""

HttpRequest = Request[Any, Any, Any]
HttpResponse = Response[bytes]

_encode = msgspec.json.Encoder().encode


def services(request: HttpRequest) -> ApiServices:
    """The process's collaborators."""
    found: ApiServices = request.app.state.services
    return found


def caller(request: HttpRequest) -> Caller:
    """Who is asking. Raises Refused, also for what a page from elsewhere has a browser ask for."""
    if request.method not in _READS:
        _check_page(request)
    return caller_of(request.headers.get(USER_HEADER))


def _check_page(request: HttpRequest) -> None:
    """A browser sends writes of any page here, and with a body of text it asks nobody first. That its reader can reach
    the api is no wish of theirs: only pages that come from here may write. Raises Refused.

    Browsers say where a page is from; what is no browser says nothing. On plain HTTP they tell the origin alone.
    """
    headers = request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        here = site in ("same-origin", "none")
    else:
        known = (headers.get("host"), headers.get("x-forwarded-host"))
        here = origin is None or origin.partition("://")[2] in known
    if not here:
        words = (
            f"a page from {(origin or 'elsewhere')[:200]} may change nothing here; allowed are pages of this address "
            "(a proxy in between has to pass on Host, or X-Forwarded-Host) and what is no browser"
        )
        raise Refused(Code.FORBIDDEN, words)


def traceparent(request: HttpRequest) -> str:
    """The trace that the request belongs to: the caller's, or one of its own."""
    found: str = request.scope.get(TRACE_KEY) or new_traceparent()  # type: ignore[assignment]  # an extra key of ours
    return found


def body_of(raw: bytes) -> bytes:
    """A request's body. Raises Refused for one that is too large."""
    if len(raw) > BODY_MAX:
        raise Refused(Code.TOO_LARGE, f"the body has {len(raw):,} bytes; allowed: {BODY_MAX:,}")
    return raw


def params_of(request: HttpRequest) -> list[tuple[str, str]]:
    """The query string as pairs, in order."""
    return [(name, str(value)) for name, value in request.query_params.multi_items()]


def checked_id(text: str, where: str = "task_id") -> str:
    """An id from a path or body. Raises Refused before anything is published under it."""
    if not is_id(text) or text in RESERVED_IDS:
        raise _no_id(repr(text[:80]), where)
    return text


def chosen_id(body: bytes, field: str) -> str | None:
    """The id that a caller chose for what a body is to make; None where it names none. Raises Refused."""
    given = read_object(body).get(field)
    if given is None or bytes(given) == b"null":
        return None
    text = msgspec.json.decode(given)
    if not isinstance(text, str):
        raise _no_id(bytes(given)[:80].decode(errors="replace"), field)
    return checked_id(text, field)


def _no_id(shown: str, where: str) -> Refused:
    reserved = f", and not {' or '.join(sorted(RESERVED_IDS))}"
    message = f"is {shown}; allowed: 1 to 64 of A-Z a-z 0-9 _ -, not beginning with _{reserved}"
    return Refused(
        Code.INVALID_ID,
        f"{where} {message}",
        FieldError(pointer=f"#/{where}", code=Code.INVALID_ID, message=message),
    )


def execution_parts(execution_id: str) -> tuple[str, str]:
    """Task and run of an execution id `<task_id>.<run>`. Raises Refused."""
    task_id, _, run = execution_id.partition(".")
    run_is_plain = bool(run) and len(run) <= 160 and all(part.isalnum() or part in "_-" for part in run)
    if not is_id(task_id) or not run_is_plain or not run.isascii():
        message = f"is {execution_id[:80]!r}; allowed: <task_id>.<run>"
        raise Refused(
            Code.INVALID_ID,
            f"execution_id {message}",
            FieldError(pointer="#/execution_id", code=Code.INVALID_ID, message=message),
        )
    return task_id, run


def wait_seconds(request: HttpRequest, most: float) -> float | None:
    """`?wait=SECONDS`, or `Prefer: wait=SECONDS`; at most `most`. None when neither is there. Raises
    Refused."""
    text = request.query_params.get("wait")
    if text is None:
        for preference in request.headers.get("prefer", "").split(","):
            name, _, value = preference.strip().partition("=")
            if name.lower() == "wait":
                text = value
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        message = f"is {text[:80]!r}; allowed: seconds from 0 to {most:g}"
        raise Refused(
            Code.INVALID, f"wait {message}", FieldError(pointer="#/wait", code=Code.INVALID, message=message)
        )
    return min(seconds, most)


def flag(request: HttpRequest, name: str) -> bool:
    """Whether `?name=true` is asked for. Raises Refused for anything but true and false."""
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        message = f"is {text[:80]!r}; allowed: true, false"
        raise Refused(
            Code.INVALID,
            f"{name} {message}",
            FieldError(pointer=f"#/{name}", code=Code.INVALID, message=message),
        )
    return bool(text == "true")


def instant_param(request: HttpRequest, name: str) -> int | None:
    """The instant that a parameter names, in milliseconds since 1970; None where it is not given. Raises Refused."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return bound_ms(with_plus(text))
    except ValueError as error:
        raise Refused(
            Code.INVALID,
            f"{name}: {error}",
            FieldError(pointer=f"#/{name}", code=Code.INVALID, message=str(error)),
        ) from error


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """A value as JSON."""
    return Response(_encode(value), status_code=status, headers=headers, media_type="application/json")


def problem_response(found: Problem, trace: str | None) -> HttpResponse:
    """A problem as its document (RFC 9457), with the trace it happened in."""
    shown = msgspec.structs.replace(found, trace_id=trace_id_of(trace) or found.trace_id)
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)} if found.status == 503 else None
    return Response(_encode(shown), status_code=found.status, headers=headers, media_type=PROBLEM_TYPE)
