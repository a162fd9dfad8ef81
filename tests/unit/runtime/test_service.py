"""A service can be started, awaited, stopped and aborted in any order, and never leaves a task behind."""

from __future__ import annotations

import asyncio

import pytest
from typing_extensions import override

from gnomon_core.runtime.service import Service, ServiceState


class Loop(Service):
    """A service with one loop that can be made to misbehave."""

    def __init__(self, name: str = "loop") -> None:
        super().__init__(name)
        self.starts = 0
        self.stops = 0
        self.turning = 0
        self.refuse_start: Exception | None = None
        self.refuse_stop: Exception | None = None
        self.finishing = asyncio.Event()
        self.finishing.set()
        self.crash = asyncio.Event()

    @override
    async def on_start(self) -> None:
        self.starts += 1
        _ = self.spawn(self._turn(), "turn")
        await asyncio.sleep(0)
        if self.refuse_start is not None:
            raise self.refuse_start

    @override
    async def on_stop(self) -> None:
        self.stops += 1
        await self.finishing.wait()
        if self.refuse_stop is not None:
            raise self.refuse_stop

    async def _turn(self) -> None:
        self.turning += 1
        try:
            await self.crash.wait()
            raise RuntimeError("crashed")
        finally:
            self.turning -= 1


def tasks_of(name: str) -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(f"{name}:")]


async def test_a_life() -> None:
    """Ready when `start` returns, named tasks while it runs, none after `stop`."""
    service = Loop()
    assert service.state is ServiceState.STOPPED
    await service.start()
    await service.start()
    await asyncio.sleep(0)
    assert (service.running, service.starts, service.turning) == (True, 1, 1)
    assert tasks_of("loop") == ["loop:turn"]
    await service.stop()
    await service.stop()
    assert (service.state, service.stops, service.turning) == (ServiceState.STOPPED, 1, 0)
    assert tasks_of("loop") == []


async def test_stopping_what_was_never_started() -> None:
    service = Loop()
    await service.stop()
    assert await service.abort() == []
    assert service.stops == 0


async def test_a_start_that_fails_is_undone_and_may_be_repeated() -> None:
    service = Loop()
    service.refuse_start = RuntimeError("not today")
    with pytest.raises(RuntimeError, match="not today"):
        await service.start()
    assert (service.state, service.turning, tasks_of("loop")) == (ServiceState.STOPPED, 0, [])
    service.refuse_start = None
    await service.start()
    await service.stop()
    assert service.stops == 1


async def test_a_start_that_is_cancelled_is_undone() -> None:
    service = Loop()
    starting = asyncio.create_task(service.start())
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (service.state, tasks_of("loop")) == (ServiceState.STOPPED, [])


async def test_a_crash_fails_the_service_and_stopping_it_is_fine() -> None:
    service = Loop()
    await service.start()
    service.crash.set()
    error = await service.failed()
    assert str(error) == "crashed"
    failures = [service.failure]
    await service.stop()
    service.crash.clear()
    await service.start()
    failures.append(service.failure)
    assert failures == [error, None]
    await service.stop()


async def test_a_stop_that_raises_still_ends_the_tasks() -> None:
    service = Loop()
    service.refuse_stop = RuntimeError("cannot finish")
    await service.start()
    with pytest.raises(RuntimeError, match="cannot finish"):
        await service.stop()
    assert (service.state, tasks_of("loop")) == (ServiceState.STOPPED, [])


async def test_the_tasks_run_until_the_work_in_hand_is_finished() -> None:
    service = Loop()
    service.finishing.clear()
    await service.start()
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0.01)
    assert (service.state, service.turning, stopping.done()) == (ServiceState.STOPPING, 1, False)
    service.finishing.set()
    await stopping
    assert service.turning == 0


async def test_abort_cuts_a_stop_short_and_names_what_it_cut() -> None:
    service = Loop()
    service.finishing.clear()
    await service.start()
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0.01)
    assert await service.abort() == ["loop:turn"]
    await stopping
    assert (service.state, service.turning) == (ServiceState.STOPPED, 0)


async def test_a_stop_that_is_cancelled_ends_everything_and_says_so() -> None:
    service = Loop()
    service.finishing.clear()
    await service.start()
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0.01)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert (service.state, tasks_of("loop")) == (ServiceState.STOPPED, [])


async def test_a_child_stops_with_its_parent_and_fails_it() -> None:
    class Parent(Service):
        def __init__(self) -> None:
            super().__init__("parent")
            self.child, self.other = Loop("child"), Loop("other")

        @override
        async def on_start(self) -> None:
            await self.start_child(self.child)
            await self.start_child(self.other)

    parent = Parent()
    await parent.start()
    assert parent.child.running
    parent.child.crash.set()
    assert str(await parent.failed()) == "crashed"
    await parent.stop()
    assert parent.child.state is ServiceState.STOPPED
    assert (parent.other.stops, tasks_of("parent"), tasks_of("other")) == (1, [], [])


async def test_a_child_that_was_stopped_early_fails_nobody() -> None:
    parent, child = Loop("parent"), Loop("child")
    await parent.start()
    await parent.start_child(child)
    await parent.stop_child(child)
    child.fail(RuntimeError("late"))
    await asyncio.sleep(0.01)
    assert parent.failure is None
    await parent.stop()


async def test_hammered_from_all_sides() -> None:
    """Ten callers who start, stop and abort as they like: no error, no deadlock, no task left."""
    service = Loop()

    async def caller(number: int) -> None:
        for turn in range(30):
            match (number + turn) % 5:
                case 0 | 1:
                    await service.start()
                case 2 | 3:
                    await service.stop()
                case _:
                    _ = await service.abort()
            await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(*[caller(number) for number in range(10)])
        await service.stop()
    assert (service.state, service.turning, tasks_of("loop")) == (ServiceState.STOPPED, 0, [])
    assert service.failure is None


class Deaf(Service):
    """A service whose loop swallows a cancellation, as Python 3.11's `wait_for` may."""

    @override
    async def on_start(self) -> None:
        _ = self.spawn(self._turn(), "turn")
        await asyncio.sleep(0)

    async def _turn(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()


async def test_a_cancellation_that_was_swallowed_does_not_hold_up_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a process that loses a lease waits for ever for its duty to end, and never takes it up again."""
    monkeypatch.setattr("gnomon_core.runtime.service._CANCEL_AGAIN_SECONDS", 0.01)
    service = Deaf("deaf")
    await service.start()
    async with asyncio.timeout(10):
        await service.stop()
    assert service.state is ServiceState.STOPPED
