"""When a task is alive: a table of what is recorded last of its slots. And how the address is asked for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest

from gnomon_api.task_heartbeats import LastSlot, ask, succeeds
from gnomon_schemas.schedules import Interval

BEGIN = 1_800_000_000
MINUTELY = Interval(every_seconds=60, anchor="2027-01-15T08:00:00.000Z", timezone="UTC")
NOW = BEGIN + 605
"""Ten minutes and five seconds after the schedule began: its tenth slot was five seconds ago."""


def last(at: int | None, *, ok: bool = True, passed_over: int | None = None) -> LastSlot:
    """Times in seconds after the beginning."""
    return LastSlot(
        None if at is None else BEGIN + at, ok, None if passed_over is None else BEGIN + passed_over
    )


@pytest.mark.parametrize(
    ("recorded", "within", "alive"),
    [
        (last(600), 300, True),
        (last(540), 300, True),
        (last(540), 0, False),
        (last(300), 300, True),
        (last(240), 300, False),
        (last(600, ok=False), 300, False),
        (last(None), 300, False),
        (last(None), 700, True),
        (last(600, passed_over=301), 300, True),
        (last(300, passed_over=541), 300, False),
        (last(None, passed_over=541), 700, False),
    ],
)
def test_slots_have_to_succeed_in_time(recorded: LastSlot, within: float, alive: bool) -> None:
    assert succeeds(MINUTELY, BEGIN, recorded, within, NOW) is alive


def test_of_a_task_without_schedule_the_last_slot_alone_counts() -> None:
    assert succeeds(None, BEGIN, last(10), 0, NOW)
    assert not succeeds(None, BEGIN, last(10, ok=False), 0, NOW)


def test_slots_before_the_present_schedule_are_not_waited_for() -> None:
    assert succeeds(MINUTELY, NOW - 20, last(300), 10, NOW)


async def test_an_answer_that_never_ends_is_not_waited_for() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"x" * 1024)
                await writer.drain()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(5):
        await ask(f"http://{host}:{port}/", client)
