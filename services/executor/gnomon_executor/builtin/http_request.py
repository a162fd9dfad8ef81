"""`http_request`: calls a URL and keeps what it answers.

The idempotency key of the execution goes out as `Idempotency-Key`, the same on every attempt, so that a
service that looks at it acts once. Which addresses may be reached is decided in `guarded_http`.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final, Literal

import httpcore
import httpx
import msgspec

from gnomon import Context, DoNotRetry, Retry, task_type
from gnomon_core.runtime.guarded_http import AddressGuard, ForbiddenAddress, GuardedTransport, Network
from gnomon_schemas.limits import DURATION_MAX_SECONDS

__all__ = [
    "BODY_MAX",
    "HttpRequestConfig",
    "HttpResult",
    "UnexpectedStatus",
    "allow_networks",
    "http_request",
]

BODY_MAX: Final = 64 * 1024
"""Bytes of the answer's body that are kept."""
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"

_REDIRECTS_MAX: Final = 5
_ASKS_TO_WAIT: Final = frozenset({429, 503})
_BODY_IN_ERROR: Final = 2000
_SENT: Final = "http11.send_request_headers.complete"
"""What httpcore's `trace` says when a request has gone out: not before, where no connection was made."""

Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class HttpRequestConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to call, and what answer counts as success."""

    url: Annotated[
        str, msgspec.Meta(pattern="^https?://", max_length=8192, description="http:// or https://")
    ]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    headers: dict[str, str] = {}
    body: str | dict[str, Any] | list[Any] | None = None
    """Text as it is; an object or array as JSON."""
    expected_status: Status | list[Status] | None = None
    """One status or several; null: any of 200 to 299."""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0, le=DURATION_MAX_SECONDS)] = 30.0
    """For the whole exchange, redirects included."""
    follow_redirects: bool = True


class HttpResult(msgspec.Struct, frozen=True):
    """What was answered."""

    status: int
    headers: dict[str, str]
    """Names in lower case; several of one name are joined with a comma."""
    body: str
    """The first 64 KiB: text where it is UTF-8, else base64."""
    body_encoding: Literal["text", "base64"]
    truncated: bool
    """There was more of the body."""
    url: str
    """The address that answered, after redirects."""


class UnexpectedStatus(Exception):
    """The answer's status is not an expected one."""

    def __init__(self, result: HttpResult) -> None:
        super().__init__(f"{result.url} answered {result.status}")
        self.details = {
            "status": result.status,
            "headers": result.headers,
            "body": result.body[:_BODY_IN_ERROR],
            "body_encoding": result.body_encoding,
        }


class _Door:
    """Which networks besides public ones may be reached; set once, when the process starts."""

    guard = AddressGuard()


def allow_networks(networks: tuple[Network, ...]) -> None:
    """Allow these networks besides public addresses (`GNOMON_HTTP_ALLOW`)."""
    _Door.guard = AddressGuard(networks)


@task_type("http_request", timeout_seconds=300)
async def http_request(config: HttpRequestConfig, ctx: Context) -> HttpResult:
    """Call a URL. Status, headers and the first 64 KiB of the body are the result.

    Every request that goes out counts as an API call, those after redirects too.
    """

    async def count(step: str, _info: Mapping[str, Any]) -> None:
        if step == _SENT:
            ctx.add_usage(api_calls=1)

    try:
        async with (
            asyncio.timeout(config.timeout_seconds),
            httpx.AsyncClient(
                transport=GuardedTransport(_Door.guard),
                timeout=None,
                follow_redirects=config.follow_redirects,
                max_redirects=_REDIRECTS_MAX,
                trust_env=False,
            ) as client,
            client.stream(
                config.method,
                config.url,
                headers=_headers(config, ctx),
                content=_content(config),
                extensions={"trace": count},
            ) as answer,
        ):
            result = await _result(answer)
    except ForbiddenAddress as error:
        raise DoNotRetry(str(error)) from error
    except TimeoutError as error:
        raise TimeoutError(f"{config.url} did not answer within {config.timeout_seconds:g} s") from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
        raise DoNotRetry(f"{config.url}: {error}") from error
    except (OSError, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise ConnectionError(
            f"{config.url} could not be reached: {str(error) or type(error).__name__}"
        ) from error
    if not _expected(config, result.status):
        _refuse(result)
    return result


def _headers(config: HttpRequestConfig, ctx: Context) -> httpx.Headers:
    headers = httpx.Headers(config.headers)
    headers.setdefault(IDEMPOTENCY_HEADER, ctx.idempotency_key)
    if config.body is not None and not isinstance(config.body, str):
        headers.setdefault("Content-Type", "application/json")
    return headers


def _content(config: HttpRequestConfig) -> bytes | None:
    if config.body is None:
        return None
    return config.body.encode() if isinstance(config.body, str) else msgspec.json.encode(config.body)


def _expected(config: HttpRequestConfig, status: int) -> bool:
    if config.expected_status is None:
        return 200 <= status <= 299
    if isinstance(config.expected_status, int):
        return status == config.expected_status
    return status in config.expected_status


async def _result(answer: httpx.Response) -> HttpResult:
    kept = bytearray()
    async for part in answer.aiter_bytes():
        kept += part
        if len(kept) > BODY_MAX:
            break
    truncated = len(kept) > BODY_MAX
    body, encoding = _text(bytes(kept[:BODY_MAX]), truncated)
    return HttpResult(
        status=answer.status_code,
        headers={name.lower(): value for name, value in answer.headers.items()},
        body=body,
        body_encoding=encoding,
        truncated=truncated,
        url=str(answer.url),
    )


def _text(data: bytes, truncated: bool) -> tuple[str, Literal["text", "base64"]]:
    # A cut may go through the middle of a character, which an incremental decoder leaves out.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(data, final=not truncated), "text"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def _refuse(result: HttpResult) -> None:
    """Raise what an unexpected status means for the next attempt."""
    error = UnexpectedStatus(result)
    wait = _retry_after(result.headers.get("retry-after"))
    if result.status in _ASKS_TO_WAIT and wait is not None:
        raise Retry(after=wait, reason=str(error)) from error
    raise error


def _retry_after(value: str | None) -> float | None:
    """Seconds from a `Retry-After` header, which holds seconds or a date; None where it holds neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
