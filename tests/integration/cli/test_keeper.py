"""A child process is kept running through whatever ends it, until it is stopped for good."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gnomon_cli.up.keeper import Keeper, Kept
from gnomon_core.runtime.embedded import EmbeddedServerError
from tests.integration.cli import scripts

DEADLINE = 20.0


class Told:
    """What a keeper has said, and the restarts that it has announced, to be awaited."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._said = asyncio.Event()
        self._back: asyncio.Queue[None] = asyncio.Queue()

    def keep(self, child: Kept) -> Keeper:
        return Keeper(child, tell=self._tell, changed=lambda: self._back.put_nowait(None), first_delay=0.01)

    async def back(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self._back.get()

    async def says(self, words: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while not any(words in line for line in self.lines):
                self._said.clear()
                await self._said.wait()

    def _tell(self, text: str, style: str) -> None:
        self.lines.append(text)
        self._said.set()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_child_is_started_again_and_both_are_told(tmp_path: Path) -> None:
    told = Told()
    child = scripts.service(scripts.SERVES, tmp_path)
    keeper = told.keep(child)
    await keeper.start()
    try:
        first = child.pid
        os.kill(first, signal.SIGKILL)
        await told.back()
        assert child.pid != first
        assert not _alive(first)
        assert keeper.restarts == 1
        assert told.lines[0] == "worker-1 was killed by SIGKILL; starting it again"
        assert told.lines[1].startswith(f"worker-1 is back (process {child.pid}, ")
    finally:
        await keeper.stop()
    assert not _alive(child.pid)


async def test_a_child_that_cannot_start_at_first_is_an_error_with_its_own_words(tmp_path: Path) -> None:
    told = Told()
    child = scripts.service(scripts.FAILS, tmp_path)
    with pytest.raises(EmbeddedServerError) as failed:
        await told.keep(child).start()
    assert "worker-1 ended with exit code" in str(failed.value)
    assert "GNOMON_THING='x': allowed is y" in str(failed.value)
    assert told.lines == []


async def test_a_restart_that_fails_is_tried_until_it_succeeds(tmp_path: Path) -> None:
    told = Told()
    mended = tmp_path / "mended"
    mended.touch()
    child = scripts.service(scripts.FAILS_UNTIL_MENDED, tmp_path, MENDED=str(mended))
    keeper = told.keep(child)
    await keeper.start()
    try:
        mended.unlink()
        os.kill(child.pid, signal.SIGKILL)
        await told.says("worker-1 does not start: worker-1 ended with exit code")
        mended.touch()
        await told.back()
        assert _alive(child.pid)
    finally:
        await keeper.stop()


async def test_a_stop_in_the_middle_of_restarts_ends_them(tmp_path: Path) -> None:
    told = Told()
    mended = tmp_path / "mended"
    mended.touch()
    child = scripts.service(scripts.FAILS_UNTIL_MENDED, tmp_path, MENDED=str(mended))
    keeper = told.keep(child)
    await keeper.start()
    mended.unlink()
    os.kill(child.pid, signal.SIGKILL)
    await told.says("does not start")
    async with asyncio.timeout(DEADLINE):
        await keeper.stop()
        await keeper.stop()
    assert not _alive(child.pid)


async def test_a_wished_restart_is_clean_and_no_accident(tmp_path: Path) -> None:
    told = Told()
    child = scripts.service(scripts.SERVES, tmp_path)
    keeper = told.keep(child)
    await keeper.start()
    try:
        first = child.pid
        keeper.restart()
        await told.back()
        assert child.pid != first
        assert keeper.restarts == 0
        assert [line for line in told.lines if "killed" in line or "ended" in line] == []
    finally:
        await keeper.stop()


async def test_a_child_that_does_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = scripts.service(scripts.IGNORES_TERM, tmp_path, grace=0.2)
    keeper = Told().keep(child)
    await keeper.start()
    async with asyncio.timeout(DEADLINE):
        await keeper.stop()
    assert not _alive(child.pid)


async def test_a_kill_ends_a_stop_that_takes_too_long(tmp_path: Path) -> None:
    child = scripts.service(scripts.IGNORES_TERM, tmp_path, grace=600)
    keeper = Told().keep(child)
    await keeper.start()
    stopping = asyncio.create_task(keeper.stop(), name="stop")
    # The stop has to be under way before the kill: what it kills must not be started again.
    await asyncio.sleep(0)
    child.kill()
    async with asyncio.timeout(DEADLINE):
        await stopping
    assert not _alive(child.pid)
