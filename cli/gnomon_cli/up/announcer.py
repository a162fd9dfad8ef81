"""What `gnomon up` says of itself: the start, one line a component; the welcome; accidents; the stop."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from gnomon_cli.terminal import Terminal
from gnomon_core.runtime.durability import Sync

__all__ = ["Announcer", "shown_path", "without_password"]

_LABEL_WIDTH = 13
_PLACE_WIDTH = 32
_MOST_LINES = 10


class Announcer:
    """Writes to the terminal on behalf of `gnomon up`."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def say(self, text: str, style: str = "") -> None:
        """Say something; of a long text, as the end of a log, the first line and the last nine."""
        first, *rest = text.splitlines() or [""]
        self.terminal.line((first, style))
        for line in rest[-(_MOST_LINES - 1) :]:
            self.terminal.line((f"    {line}", "dim"))

    def component(self, name: str, place: str, remark: str) -> None:
        """A component is ready."""
        self.terminal.line(f"  {name:<{_LABEL_WIDTH}}", f"{place:<{_PLACE_WIDTH}}", (remark, "dim"))

    def moved(self, what: str, wished: int, got: int) -> None:
        """A default port was taken."""
        self.say(f"  port {wished} is taken: {what} listens on {got}", "yellow")

    def welcome(self, seconds: float, url: str, *, sync: Sync | None, executors: int) -> None:
        """All is ready: where to go, and what a write is worth. `sync`: how the embedded server writes to disk; None:
        there is none."""
        self.terminal.line((f"ready in {seconds:.1f} s", "bold green"))
        self.terminal.line("  web page     ", (f"{url}/", "bold"))
        self.terminal.line("  api          ", (f"{url}/api/v1", "bold"))
        self.terminal.line("  api docs     ", (f"{url}/docs", "bold"))
        self.terminal.line("  durability   ", _durability(sync))
        if executors == 0:
            self.terminal.line(("  no executor: tasks come due and wait until one is started", "yellow"))


def without_password(url: str) -> str:
    """Host and port of an address, or of several joined by commas; never user and password."""
    parts = [urlsplit(part.strip()) for part in url.split(",")]
    return ", ".join(part.netloc.rpartition("@")[2] or part.path for part in parts)


def shown_path(folder: Path) -> str:
    """A path as short as it can be written here."""
    try:
        return str(folder.relative_to(Path.cwd()))
    except ValueError:
        return str(folder)


def _durability(sync: Sync | None) -> str | tuple[str, str]:
    if sync is None:
        return "as your own NATS server is set up; `gnomon doctor` tells"
    if not sync.servers:
        return (f"not known: {sync.trouble}", "yellow")
    if not sync.always:
        return (
            "--fast: a power cut or kernel crash may lose the last writes, also acknowledged ones",
            "yellow",
        )
    return "acknowledged means on disk on 1 node"
