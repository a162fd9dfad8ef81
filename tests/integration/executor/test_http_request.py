"""`http_request` against a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from email.utils import formatdate
from time import time
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gnomon import DoNotRetry, Retry
from gnomon.testing import FakeContext, run_handler
from gnomon_core.runtime.guarded_http import parse_networks
from gnomon_executor.builtin.http_request import (
    BODY_MAX,
    HttpRequestConfig,
    UnexpectedStatus,
    allow_networks,
    http_request,
)

Answer = tuple[int, dict[str, str], bytes]


class Server:
    """A little HTTP server that answers as it is told and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: dict[str, Callable[[], Awaitable[Answer]] | Answer] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = {
                line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in head[1:] if line
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append((method, path, headers, body))
            answer = self.answers.get(path, (200, {}, b"fine"))
            status, extra, data = await answer() if callable(answer) else answer
            lines = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
            writer.write(
                f"HTTP/1.1 {status} X\r\n{lines}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode()
            )
            writer.write(data)
            await writer.drain()
        except ConnectionError:
            return  # the caller went away
        finally:
            writer.close()


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[Server]:
    """The server, and permission to reach it."""
    serving = Server()
    listening = await asyncio.start_server(serving.serve, "127.0.0.1", 0)
    serving.port = listening.sockets[0].getsockname()[1]
    allow_networks(parse_networks("127.0.0.0/8"))
    yield serving
    allow_networks(())
    listening.close()
    await listening.wait_closed()


async def call(server: Server, path: str = "/", **config: Any) -> dict[str, Any]:
    result = (await run_handler(http_request, {"url": server.url + path, **config}, task_id="t1")).result
    assert isinstance(result, dict)
    return result


async def test_status_headers_and_body_are_kept(server: Server) -> None:
    server.answers["/a"] = (201, {"X-Thing": "yes"}, "größe".encode())
    result = await call(server, "/a")
    assert (result["status"], result["body"], result["body_encoding"]) == (201, "größe", "text")
    assert result["headers"]["x-thing"] == "yes"
    assert not result["truncated"]


async def test_the_idempotency_key_goes_out_and_may_be_replaced(server: Server) -> None:
    await call(server)
    await call(server, headers={"idempotency-key": "mine"})
    keys = [headers["idempotency-key"] for _, _, headers, _ in server.requests[-2:]]
    assert keys == ["t1.20260101T000000Z", "mine"]


async def test_method_headers_and_body_go_out(server: Server) -> None:
    await call(server, "/x", method="POST", body={"a": [1]}, headers={"X-Y": "z"})
    method, path, headers, body = server.requests[-1]
    assert (method, path, headers["x-y"], headers["content-type"]) == ("POST", "/x", "z", "application/json")
    assert msgspec.json.decode(body) == {"a": [1]}
    await call(server, "/x", method="PUT", body="plain")
    assert server.requests[-1][3] == b"plain"


async def test_a_long_body_is_cut(server: Server) -> None:
    server.answers["/long"] = (200, {}, "ä".encode() * BODY_MAX)
    result = await call(server, "/long")
    assert result["truncated"]
    assert len(result["body"].encode()) in (BODY_MAX, BODY_MAX - 1)
    server.answers["/bytes"] = (200, {}, bytes(range(256)) * 4)
    binary = await call(server, "/bytes")
    assert (binary["body_encoding"], binary["truncated"]) == ("base64", False)


@pytest.mark.parametrize(
    ("status", "expected", "fine"),
    [(204, None, True), (404, None, False), (404, 404, True), (404, [200, 404], True), (200, 404, False)],
)
async def test_what_counts_as_success(server: Server, status: int, expected: Any, fine: bool) -> None:
    server.answers["/s"] = (status, {}, b"")
    config = {} if expected is None else {"expected_status": expected}
    if fine:
        assert (await call(server, "/s", **config))["status"] == status
    else:
        with pytest.raises(UnexpectedStatus, match=str(status)) as caught:
            await call(server, "/s", **config)
        assert caught.value.details["status"] == status


async def test_retry_after_is_honoured(server: Server) -> None:
    """As seconds and as a date, on 429 and 503; elsewhere it means nothing."""
    server.answers["/busy"] = (503, {"Retry-After": "7"}, b"")
    with pytest.raises(Retry) as seconds:
        await call(server, "/busy")
    assert seconds.value.after_seconds == 7
    server.answers["/busy"] = (429, {"Retry-After": formatdate(time() + 30, usegmt=True)}, b"")
    with pytest.raises(Retry) as date:
        await call(server, "/busy")
    assert date.value.after_seconds is not None
    assert 25 < date.value.after_seconds <= 30
    for answer in ((500, {"Retry-After": "7"}, b""), (503, {"Retry-After": "soon"}, b""), (503, {}, b"")):
        server.answers["/busy"] = answer
        with pytest.raises(UnexpectedStatus):
            await call(server, "/busy")


async def test_a_slow_answer_times_out(server: Server) -> None:
    async def never() -> Answer:
        await asyncio.sleep(30)
        return 200, {}, b""

    server.answers["/slow"] = never
    with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
        await call(server, "/slow", timeout_seconds=0.2)


async def test_redirects_are_followed_and_checked(server: Server) -> None:
    """A redirect to an address that is not allowed is refused like the address itself."""
    server.answers["/go"] = (302, {"Location": "/there"}, b"")
    server.answers["/there"] = (200, {}, b"arrived")
    result = await call(server, "/go")
    assert (result["body"], result["url"]) == ("arrived", f"{server.url}/there")
    assert (await call(server, "/go", follow_redirects=False, expected_status=302))["status"] == 302
    server.answers["/inside"] = (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b"")
    with pytest.raises(DoNotRetry, match="link-local"):
        await call(server, "/inside")
    server.answers["/loop"] = (302, {"Location": "/loop"}, b"")
    with pytest.raises(DoNotRetry):
        await call(server, "/loop")


async def test_every_request_that_goes_out_is_an_api_call(server: Server) -> None:
    """Those after redirects, and those that fail; not one that reaches nobody, or may not go out."""
    server.answers["/hop"] = (302, {"Location": "/arrived"}, b"")
    server.answers["/broken"] = (500, {}, b"")
    server.answers["/outside"] = (302, {"Location": "http://169.254.169.254/"}, b"")
    for url, calls in (
        (f"{server.url}/arrived", 1),
        (f"{server.url}/hop", 2),
        (f"{server.url}/broken", 1),
        (f"{server.url}/outside", 1),
        ("http://169.254.169.254/", 0),
        ("http://127.0.0.1:1/", 0),
    ):
        ctx = FakeContext(task_id="t1")
        with suppress(UnexpectedStatus, DoNotRetry, ConnectionError):
            await http_request(HttpRequestConfig(url=url), ctx)
        assert (url, ctx.usage["api_calls"]) == (url, calls)


async def test_an_address_that_is_not_allowed_is_never_connected_to(server: Server) -> None:
    """Also by a name that resolves to it; the message tells which setting would allow it."""
    allow_networks(())
    before = len(server.requests)
    try:
        for host in ("127.0.0.1", "localhost", "[::1]", "2130706433"):
            with pytest.raises(DoNotRetry, match="GNOMON_HTTP_ALLOW"):
                await run_handler(http_request, {"url": f"http://{host}:{server.port}/"})
    finally:
        allow_networks(parse_networks("127.0.0.0/8"))
    assert len(server.requests) == before


async def test_nobody_there_is_an_error_worth_another_attempt(server: Server) -> None:
    with pytest.raises(ConnectionError, match="could not be reached"):
        await run_handler(http_request, {"url": "http://127.0.0.1:1/"})
    with pytest.raises(ConnectionError, match="could not be reached"):
        await run_handler(http_request, {"url": "http://no-such-host.invalid/"})


@pytest.mark.parametrize(
    "config",
    [
        {"url": "ftp://example.org/"},
        {"url": "http://example.org/", "method": "BREW"},
        {"url": "http://example.org/", "expected_status": 99},
        {"url": "http://example.org/", "timeout_seconds": 0},
        {"url": "http://example.org/", "surprise": 1},
        {},
    ],
)
async def test_a_config_that_does_not_fit_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        await run_handler(http_request, config)
