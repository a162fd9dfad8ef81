"""The live view on a real nats-server: what it shows, what it holds back, what it sums up."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import nats
import pytest

from gnomon_cli.event_lines import TaskNames
from gnomon_cli.terminal import Terminal
from gnomon_cli.up.live import BURST, LiveView

DEADLINE = 30.0


class Screen(io.StringIO):
    """A stream that tells when a line with certain words has been written."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = asyncio.Event()

    def write(self, text: str) -> int:
        self._grown.set()
        return super().write(text)

    async def shows(self, words: str) -> str:
        async with asyncio.timeout(DEADLINE):
            while True:
                for line in self.getvalue().splitlines():
                    if words in line:
                        return line
                self._grown.clear()
                await self._grown.wait()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _event(**more: Any) -> bytes:
    event = {
        "task_id": "t1",
        "occurred_at": "2026-09-21T09:00:00.000Z",
        "run": "r-1",
        "execution_id": "t1.r-1",
    }
    return json.dumps({**event, **more}).encode()


async def _no_name(task_id: str) -> str | None:
    return None


async def test_a_result_is_shown_with_the_task_s_name_looked_up_once(nats_url: str) -> None:
    asked: list[str] = []

    async def look_up(task_id: str) -> str | None:
        asked.append(task_id)
        return "Nightly report"

    screen = Screen()
    view = LiveView(Terminal(screen), TaskNames(), look_up=look_up)
    publisher = await nats.connect(nats_url)
    await view.start(nats_url)
    try:
        for status in ("completed", "failed"):
            await publisher.publish("task.executed", _event(status=status, duration_ms=3))
        line = await screen.shows("failed")
        assert "Nightly report" in line
        assert asked == ["t1"]
    finally:
        await view.stop()
        await publisher.close()


async def test_a_start_is_shown_only_when_its_end_lets_it_wait(nats_url: str) -> None:
    screen, clock = Screen(), Clock()
    view = LiveView(Terminal(screen), TaskNames(), look_up=_no_name, clock=clock)
    publisher = await nats.connect(nats_url)
    await view.start(nats_url)
    try:
        await publisher.publish("task.started", _event(run="r-quick", execution_id="t1.r-quick"))
        await publisher.publish("task.started", _event(run="r-slow", execution_id="t1.r-slow"))
        await publisher.publish(
            "task.executed", _event(run="r-quick", execution_id="t1.r-quick", status="completed")
        )
        await screen.shows("r-quick")
        clock.now += 2
        await publisher.publish(
            "task.executed", _event(run="r-other", execution_id="t1.r-other", status="completed")
        )
        await screen.shows("r-slow")
        started = [line for line in screen.getvalue().splitlines() if "started" in line]
        assert ["r-slow" in line for line in started] == [True]
    finally:
        await view.stop()
        await publisher.close()


async def test_a_flood_is_summed_up(nats_url: str) -> None:
    screen, clock = Screen(), Clock()
    view = LiveView(Terminal(screen), TaskNames(), look_up=_no_name, clock=clock)
    publisher = await nats.connect(nats_url)
    await view.start(nats_url)
    try:
        for number in range(int(BURST) + 30):
            await publisher.publish("task.executed", _event(run=f"r-{number}", status="completed"))
        await publisher.publish("task.rejected", _event(verb="create", run="_"))
        await publisher.flush()
        await screen.shows(f"r-{int(BURST) - 1}")
        # What was still on its way arrives before anything published from now on.
        clock.now += 1.5
        await publisher.publish("task.deleted", _event(run="_"))
        line = await screen.shows("too many to show")
        assert "30 executed" in line
        assert "1 rejected" in line
    finally:
        await view.stop()
        await publisher.close()


@pytest.mark.parametrize(
    "data", [b"not json", b"[]", b'{"occurred_at": "yesterday", "task_id": "t1"}', b'{"due_at": 5}']
)
async def test_what_others_publish_by_mistake_does_not_stop_the_view(nats_url: str, data: bytes) -> None:
    screen = Screen()
    view = LiveView(Terminal(screen), TaskNames(), look_up=_no_name)
    publisher = await nats.connect(nats_url)
    await view.start(nats_url)
    try:
        await publisher.publish("task.executed", data)
        await publisher.publish("task.executed", _event(status="completed"))
        await screen.shows("r-1")
    finally:
        await view.stop()
        await publisher.close()
