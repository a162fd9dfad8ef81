"""Does what a page says, in a folder of its own, as a reader would: one command after the other.

The folder has the project's environment as `.venv`, and `make` works with the project's Makefile except that nothing
is installed. Gnomon's own ports are free ones: wherever a page says 8080 or 4222, the ports that it got are put in.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from gnomon_cli.up.run_file import read_run_file
from gnomon_core.runtime.embedded import free_port
from tests.integration.cli.running_up import environment
from tests.integration.docs.pages import ROOT, Block, Command, Page, matches, read_page, shape
from tests.servers import reachable_folder

__all__ = ["PageRun", "run_page"]

COMMAND_SECONDS = 90.0
STOP_SECONDS = 60.0


class PageRun:
    """One page on its way. Raises AssertionError, naming page and line, for what is not as the page says."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._port = free_port()
        self._environment = environment(
            PATH=f"{folder / '.bin'}:{os.environ['PATH']}",
            GNOMON_HTTP_PORT=str(self._port),
            NO_COLOR="1",
            TERM="dumb",
            LC_ALL="C.UTF-8",
        )
        self._behind: list[_Behind] = []

    def prepare(self) -> None:
        """Lay out the folder."""
        (self._folder / ".venv").symlink_to(sys.prefix)
        (self._folder / ".bin").mkdir()
        make = self._folder / ".bin" / "make"
        make.write_text(_MAKE.format(path=os.environ["PATH"], makefile=ROOT / "Makefile"))
        make.chmod(0o755)

    async def run(self) -> None:
        """Do all of it."""
        for block in self._page.blocks:
            if block.language == "ctrl-c":
                await self._interrupt(block)
            elif block.file is not None:
                (content,) = self._put_in((block.content,))
                (self._folder / block.file).write_text(content)
            elif block.to_run and block.runs_on:
                await self._run_on(block, block.commands[0])
            elif block.to_run:
                for number, command in enumerate(block.commands, start=1):
                    last = number == len(block.commands)
                    await self._run(block, command, block.exit_code if last else 0)

    async def stop(self) -> None:
        """End what still runs, the last first."""
        for behind in reversed(self._behind):
            await behind.interrupt()
        self._behind.clear()

    async def _run(self, block: Block, command: Command, exit_code: int) -> None:
        process = await self._start(command.text)
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                assert process.stdout is not None
                output = (await process.stdout.read()).decode(errors="replace")
                code = await process.wait()
        except TimeoutError:
            raise self._wrong(block, f"{command.text!r} does not end") from None
        finally:
            _kill_group(process)
        told = f"\n--- it showed:\n{output}\n--- what runs beside it shows:\n{self._shown_behind()}"
        if code != exit_code:
            raise self._wrong(block, f"{command.text!r} ended with {code} and not with {exit_code}{told}")
        if command.shown and (why := matches(self._put_in(command.shown), output.splitlines())):
            raise self._wrong(block, f"{command.text!r}: {why}{told}")

    async def _run_on(self, block: Block, command: Command) -> None:
        behind = _Behind(await self._start(command.text), command.text)
        self._behind.append(behind)
        missing = await behind.shows(self._put_in(command.shown))
        if missing is not None:
            raise self._wrong(block, f"{command.text!r} does not show {missing!r}. It shows:\n{behind.text}")

    async def _interrupt(self, block: Block) -> None:
        if not self._behind:
            raise self._wrong(block, "nothing runs that Ctrl-C could end")
        behind = self._behind.pop()
        code = await behind.interrupt()
        if code not in (0, 130, -signal.SIGINT):
            raise self._wrong(block, f"{behind.command!r} ended with {code} after Ctrl-C:\n{behind.text}")

    async def _start(self, text: str) -> asyncio.subprocess.Process:
        (text,) = self._put_in((text,))
        return await asyncio.create_subprocess_exec(
            *("bash", "-e", "-o", "pipefail", "-c", text),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._folder,
            env=self._environment,
            # A group of its own, as a terminal gives it: Ctrl-C reaches all of it.
            start_new_session=True,
        )

    def _put_in(self, lines: tuple[str, ...]) -> tuple[str, ...]:
        """The lines with the ports that Gnomon has here."""
        ports = {"8080": str(self._port)}
        try:
            nats_url = read_run_file(self._folder / ".gnomon").nats_url
            ports["4222"] = nats_url.rpartition(":")[2].strip("/")
        except FileNotFoundError:
            ports["4222"] = "…"  # not up yet: only what a start shows can name it
        for usual, own in ports.items():
            for host in ("127.0.0.1", "localhost"):
                lines = tuple(line.replace(f"{host}:{usual}", f"{host}:{own}") for line in lines)
        return lines

    def _shown_behind(self) -> str:
        return "\n".join(behind.text[-3000:] for behind in self._behind)

    def _wrong(self, block: Block, what: str) -> AssertionError:
        return AssertionError(f"{self._page.name}:{block.line}: {what}")


_MAKE = """\
#!/bin/sh
# The project's Makefile, in this folder; its environment is taken as installed.
PATH='{path}' exec make -f '{makefile}' -o install -o dev "$@"
"""


class _Behind:
    """A command that runs on while the page goes on."""

    def __init__(self, process: asyncio.subprocess.Process, command: str) -> None:
        self.command = command
        self._process = process
        self._lines: list[str] = []
        self._grown = asyncio.Event()
        self._reader = asyncio.create_task(self._read(), name="read-terminal")

    @property
    def text(self) -> str:
        """What it has shown."""
        return "\n".join(self._lines)

    async def shows(self, lines: tuple[str, ...]) -> str | None:
        """Wait until lines like these have appeared, in order; the first that does not come, or None."""
        deadline, at = time.monotonic() + COMMAND_SECONDS, 0
        for line in lines:
            if line.strip() == "…":
                continue
            pattern = shape(line)
            while True:
                hits = [
                    number
                    for number in range(at, len(self._lines))
                    if pattern.fullmatch(" ".join(self._lines[number].split()))
                ]
                if hits:
                    at = hits[0] + 1
                    break
                if self._reader.done() or not await self._more(deadline):
                    return line
        return None

    async def _more(self, deadline: float) -> bool:
        self._grown.clear()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._grown.wait()
        except TimeoutError:
            return False
        return True

    async def interrupt(self) -> int:
        """Ctrl-C, and its exit code."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                code = await self._process.wait()
        finally:
            _kill_group(self._process)
            await self._reader
        return code

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._lines.append(line.decode(errors="replace").rstrip())
            self._grown.set()
        self._grown.set()


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Whatever is left of a command; nothing where it has ended."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


async def run_page(path: Path) -> None:
    """Do all that a page says; whatever it leaves running is ended. Raises AssertionError, PageError."""
    page = read_page(path)
    if not page.has_commands:
        return
    assert shutil.which("curl"), "the pages use curl, and it is not here"
    with reachable_folder() as folder:
        run = PageRun(page, folder)
        run.prepare()
        try:
            await run.run()
        finally:
            await run.stop()
