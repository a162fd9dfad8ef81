"""A real browser for tests of the web page: Chromium without a window, spoken to by its DevTools protocol over a pipe.

Chromium reads commands on descriptor 3 and writes answers and events on 4, each as JSON that ends with a zero byte. So
no package and no port is needed, only the browser.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.e2e.tools import find

__all__ = ["Page", "open_page"]

DEADLINE = 30.0
_LARGEST = 64 * 1024 * 1024
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *(
        "--disable-extensions",
        "--disable-background-networking",
        "--no-proxy-server",
        "--remote-debugging-pipe",
    ),
)
_BEFORE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_UNTIL = """
new Promise((done, failed) => {
  const holds = () => { try { return (() => %s)(); } catch { return false; } };
  const look = () => { if (!holds()) return false; watch.disconnect(); done(true); return true; };
  const watch = new MutationObserver(look);
  watch.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  for (const event of ["readystatechange", "focusin", "focusout"]) document.addEventListener(event, look);
  if (!look()) setTimeout(() => { watch.disconnect(); failed(new Error("not within the deadline")); }, %d);
})
"""


class Page:
    """One page in a browser. Scripts are JavaScript expressions."""

    def __init__(self, reader: asyncio.StreamReader, out: int) -> None:
        self._reader = reader
        self._out = out
        self._session: str | None = None
        self._numbers = itertools.count(1)
        self.faults: list[str] = []
        """What the page's scripts have thrown, and what the browser refused them."""

    async def begin(self, *, width: int, dark: bool, zone: str) -> None:
        """Open an empty page of so many pixels."""
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.send(f"{domain}.enable")
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await self.send("Emulation.setTimezoneOverride", timezoneId=zone)

    async def go(self, url: str) -> None:
        """Go to an address; waits until there is a document of it."""
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState !== 'loading' && location.href !== 'about:blank'")

    async def run(self, script: str) -> Any:
        """The value of a script; of a promise what it comes to. Raises AssertionError with what it throws."""
        told = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise AssertionError(f"{script}: {told['exceptionDetails']}")
        return told["result"].get("value")

    async def until(self, script: str) -> None:
        """Wait until a script, asked again with every change of the page, is true. Raises AssertionError, with what
        the page shows."""
        try:
            await self.run(_UNTIL % (script, DEADLINE * 500))
        except AssertionError as error:
            shown = await self.run("document.body.innerText")
            raise AssertionError(f"never was: {script}\n{shown}\n{self.faults}") from error

    async def shows(self, words: str) -> None:
        """Wait until the page's main part shows these words."""
        await self.until(
            f"document.querySelector('main').innerText.includes({msgspec.json.encode(words).decode()})"
        )

    async def press(self, label: str) -> None:
        """Click the button with this label, and agree to what it asks."""
        quoted = msgspec.json.encode(label).decode()
        button = f"[...document.querySelectorAll('main button')].find(one => one.textContent === {quoted})"
        await self.until(f"{button} && !{button}.disabled")
        await self.run(f"window.confirm = () => true, {button}.click()")

    async def picture(self, path: Path) -> None:
        """Write a picture of the whole page, as PNG."""
        told = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its answer. Raises AssertionError where it is refused."""
        number = next(self._numbers)
        asked: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            asked["sessionId"] = self._session
        os.write(self._out, msgspec.json.encode(asked) + b"\0")
        async with asyncio.timeout(DEADLINE):
            while True:
                told = msgspec.json.decode((await self._reader.readuntil(b"\0"))[:-1], type=dict[str, Any])
                if told.get("id") == number:
                    assert "error" not in told, f"{method}: {told}"
                    found: dict[str, Any] = told["result"]
                    return found
                self._heard(told)

    def _heard(self, told: dict[str, Any]) -> None:
        if told.get("method") == "Runtime.exceptionThrown":
            self.faults.append(str(told["params"]["exceptionDetails"]))
        entry = told.get("params", {}).get("entry", {})
        if told.get("method") == "Log.entryAdded" and entry.get("source") == "security":
            self.faults.append(str(entry.get("text")))


@asynccontextmanager
async def open_page(
    folder: Path, *, width: int = 1300, dark: bool = False, zone: str = "Europe/Berlin"
) -> AsyncIterator[Page]:
    """A page in a browser of its own, whose profile is in `folder`."""
    command = find("chromium")
    assert command is not None, "the marker `needs` skips where it is missing"
    to_browser, to_us = os.pipe(), os.pipe()
    # Clear of 3 and 4, which become theirs just before the browser takes the place of `_BEFORE`.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser[0], to_us[1])]
    for end in (to_browser[0], to_us[1]):
        os.close(end)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _BEFORE, *map(str, theirs)),
        *(command, *_FLAGS, f"--user-data-dir={folder}", "about:blank"),
        pass_fds=theirs,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,
    )
    for end in theirs:
        os.close(end)
    reader = asyncio.StreamReader(limit=_LARGEST)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(to_us[0], "rb")
    )
    page = Page(reader, to_browser[1])
    try:
        await page.begin(width=width, dark=dark, zone=zone)
        yield page
    finally:
        # It ends by itself, with all its processes, when nobody speaks to it any more.
        os.close(to_browser[1])
        transport.close()
        try:
            async with asyncio.timeout(DEADLINE):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
