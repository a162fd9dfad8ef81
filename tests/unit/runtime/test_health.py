"""The health port tells the truth, to anyone who asks in HTTP, and outlives those who do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from gnomon_core.runtime import health
from gnomon_core.runtime.health import Check, HealthServer, readiness
from gnomon_core.runtime.metrics import Meter, Metric


@pytest.fixture
async def checks() -> dict[str, Check]:
    """What the server of the test asks; a test changes it."""
    return {"nats": lambda: None}


@pytest.fixture
async def server(checks: dict[str, Check]) -> AsyncIterator[HealthServer]:
    meter = Meter()
    meter.add(Metric.FIRES, 3, trigger="schedule")
    server = HealthServer("127.0.0.1", 0, checks=checks, meter=meter)
    await server.start()
    yield server
    await server.stop()


async def ask(server: HealthServer, request: bytes) -> tuple[int, bytes]:
    """Status and body; status 0 for none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split(b" ")[1]) if head else 0), body


async def get(server: HealthServer, path: str) -> tuple[int, bytes]:
    return await ask(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_live_ready_and_metrics(server: HealthServer) -> None:
    assert (await get(server, "/livez"))[0] == 200
    status, body = await get(server, "/readyz?verbose")
    assert (status, msgspec.json.decode(body)) == (200, {"status": "ready", "checks": {"nats": "ok"}})
    status, body = await get(server, "/metrics")
    assert status == 200
    assert b'gnomon_fires_total{trigger="schedule"} 3.0' in body


async def test_not_ready_says_what_is_wrong(server: HealthServer, checks: dict[str, Check]) -> None:
    async def slow() -> str | None:
        await asyncio.sleep(0)
        return "3.0 s off"

    checks |= {"nats": lambda: "not connected", "clock": slow, "disk": lambda: None}
    status, body = await get(server, "/readyz")
    assert status == 503
    said = {"nats": "not connected", "clock": "3.0 s off", "disk": "ok"}
    assert msgspec.json.decode(body) == {"status": "not ready", "checks": said}
    assert (await get(server, "/livez"))[0] == 200, "not ready is not dead"


async def test_a_check_that_raises_or_hangs_is_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_CHECK_SECONDS", 0.05)

    def broken() -> None:
        raise RuntimeError("no such file")

    async def hanging() -> None:
        await asyncio.get_running_loop().create_future()

    ready, said = await readiness({"a": broken, "b": hanging, "c": lambda: None})
    assert not ready
    assert said == {"a": "RuntimeError: no such file", "b": "no answer within 0.05 s", "c": "ok"}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"POST /livez HTTP/1.1\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 0),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 0),
    ],
)
async def test_what_is_no_question_for_it(server: HealthServer, request_: bytes, status: int) -> None:
    """Refused or dropped, and the next one is answered as ever."""
    try:
        assert (await ask(server, request_))[0] == status
    except ConnectionError:
        assert status == 0
    assert (await get(server, "/livez"))[0] == 200


async def test_without_a_port_it_does_nothing() -> None:
    server = HealthServer("127.0.0.1", None, checks={})
    await server.start()
    assert server.port is None
    await server.stop()


async def test_a_port_that_is_taken_fails_the_start(server: HealthServer) -> None:
    second = HealthServer("127.0.0.1", server.port, checks={})
    with pytest.raises(OSError, match="address already in use"):
        await second.start()
