"""A process starts its services in order, ends for a signal or a failure, and stops in reverse."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
from typing_extensions import override

from gnomon_core.runtime.service import Service
from gnomon_core.runtime.settings import SettingsError
from gnomon_core.runtime.supervisor import Restart, Supervisor, run_process
from gnomon_core.runtime.topology import TopologyError


class Part(Service):
    """A service that writes down what happens to it."""

    def __init__(self, name: str, diary: list[str]) -> None:
        super().__init__(name)
        self.diary = diary
        self.refuse = False
        self.hang_starting = False
        self.hang_stopping = False
        self.crash = asyncio.Event()

    @override
    async def on_start(self) -> None:
        self.diary.append(f"start {self.name}")
        if self.refuse:
            raise RuntimeError(f"{self.name} cannot start")
        if self.hang_starting:
            await asyncio.get_running_loop().create_future()
        _ = self.spawn(self._work(), "work")

    @override
    async def on_stop(self) -> None:
        self.diary.append(f"stop {self.name}")
        if self.hang_stopping:
            await asyncio.get_running_loop().create_future()

    async def _work(self) -> None:
        await self.crash.wait()
        self.crash.clear()
        raise RuntimeError(f"{self.name} crashed")


def parts(diary: list[str]) -> list[Part]:
    return [Part("one", diary), Part("two", diary), Part("three", diary)]


async def soon(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110 - a plain list has no event
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_in_reverse_with_code_zero(number: int) -> None:
    diary: list[str] = []
    running = asyncio.create_task(Supervisor(parts(diary)).run())
    await soon(lambda: len(diary) == 3)
    os.kill(os.getpid(), number)
    assert await running == 0
    assert diary == ["start one", "start two", "start three", "stop three", "stop two", "stop one"]


async def test_the_first_failure_stops_all_with_code_one() -> None:
    diary: list[str] = []
    one, two, three = parts(diary)
    supervisor = Supervisor([one, two, three])
    running = asyncio.create_task(supervisor.run())
    await soon(lambda: len(diary) == 3)
    two.crash.set()
    assert await running == 1
    assert str(supervisor.failure) == "two crashed"
    assert diary[3:] == ["stop three", "stop two", "stop one"]


async def test_a_start_that_fails_is_undone_and_told() -> None:
    diary: list[str] = []
    one, two, three = parts(diary)
    three.refuse = True
    with pytest.raises(RuntimeError, match="three cannot start"):
        await Supervisor([one, two, three]).run()
    assert diary == ["start one", "start two", "start three", "stop two", "stop one"]


async def test_a_signal_during_a_start_that_hangs_breaks_it_off() -> None:
    diary: list[str] = []
    one, two, three = parts(diary)
    two.hang_starting = True
    running = asyncio.create_task(Supervisor([one, two, three]).run())
    await soon(lambda: len(diary) == 2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert diary == ["start one", "start two", "stop one"]


async def test_what_does_not_finish_within_the_grace_is_cut_off() -> None:
    diary: list[str] = []
    one, two, three = parts(diary)
    two.hang_stopping = True
    running = asyncio.create_task(Supervisor([one, two, three], grace=0.1).run())
    await soon(lambda: len(diary) == 3)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await running == 0
    assert diary[-1] == "stop one"


async def test_a_second_signal_cuts_off_at_once() -> None:
    diary: list[str] = []
    one, two, three = parts(diary)
    two.hang_stopping = True
    running = asyncio.create_task(Supervisor([one, two, three], grace=3600).run())
    await soon(lambda: len(diary) == 3)
    os.kill(os.getpid(), signal.SIGTERM)
    await soon(lambda: "stop two" in diary)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await running == 0
    assert diary[-1] == "stop one"


async def test_a_service_that_may_be_restarted_is_until_it_failed_too_often() -> None:
    diary: list[str] = []
    one, two, three = parts(diary)
    supervisor = Supervisor([one, two, three], restarts={"two": Restart(attempts=2)})
    running = asyncio.create_task(supervisor.run())
    await soon(lambda: len(diary) == 3)
    for _ in range(2):
        before = len(diary)
        two.crash.set()
        await soon(lambda before=before: diary[before:] == ["stop two", "start two"])  # type: ignore[misc]
        await soon(lambda: two.running)
    two.crash.set()
    assert await running == 1
    assert str(supervisor.failure) == "two crashed"


async def test_a_process_ends_when_it_is_told_to() -> None:
    diary: list[str] = []
    supervisor = Supervisor(parts(diary))
    await supervisor.start()
    supervisor.end()
    await supervisor.stop()
    assert len(diary) == 6


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            SettingsError("GNOMON_LEASE_TTL='x': a duration"),
            2,
            "gnomon thing: GNOMON_LEASE_TTL='x': a duration",
        ),
        (TopologyError("stream TASKS: retention is 'a'"), 2, "gnomon thing: stream TASKS: retention is 'a'"),
        (RuntimeError("a bug"), 1, ""),
    ],
)
def test_what_a_process_says_and_returns_when_it_cannot_be_built(
    error: Exception, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def build() -> Supervisor:
        raise error

    assert run_process(build, name="thing") == code
    assert told in capsys.readouterr().err


def test_a_process_runs_until_its_services_end_it() -> None:
    diary: list[str] = []

    async def build() -> Supervisor:
        part = Part("only", diary)
        part.crash.set()
        return Supervisor([part])

    assert run_process(build, name="thing") == 1
    assert diary == ["start only", "stop only"]
