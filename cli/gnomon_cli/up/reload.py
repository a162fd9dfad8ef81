"""`--reload`: tells when a file of the user's task modules changes.

Files are found without importing anything: a module that cannot be imported right now, because its author is
in the middle of a thought, is the very one to watch. They are looked at twice a second.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

__all__ = ["ModuleWatch", "files_of"]

POLL_SECONDS = 0.5

Seen = dict[Path, tuple[int, int]]


def files_of(module: str, path: Sequence[str]) -> list[Path]:
    """The Python files of a module: its own, or all of its package. Empty where the module is not found."""
    places: Sequence[str] | None = path
    spec = None
    for part in module.split("."):
        # By its last name only: for a dotted one the finder wants the parents to be imported.
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return []
        places = list(spec.submodule_search_locations or ())
    if places:
        return sorted(file for place in places for file in Path(place).rglob("*.py"))
    return [Path(spec.origin)] if spec is not None and spec.origin else []


class ModuleWatch:
    """Calls `changed(file)` when a file of the modules was changed, added or removed."""

    def __init__(self, modules: Sequence[str], changed: Callable[[Path], None]) -> None:
        self._modules = tuple(modules)
        self._changed = changed
        # As the executor does it: the working directory comes last.
        self._path = [*sys.path, str(Path.cwd())]
        self._seen = self._look()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._loop = asyncio.create_task(self._watch(), name="module-watch")

    async def stop(self) -> None:
        """End. May be called again, and when it was never started."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = self._look()
            differing = sorted(
                file for file in now.keys() | self._seen.keys() if now.get(file) != self._seen.get(file)
            )
            self._seen = now
            if differing:
                self._changed(differing[0])

    def _look(self) -> Seen:
        # PathFinder keeps what it knows of folders; a file added since would not be found.
        PathFinder.invalidate_caches()
        found: Seen = {}
        for module in self._modules:
            for file in files_of(module, self._path):
                try:
                    status = file.stat()
                except FileNotFoundError:
                    continue
                found[file] = (status.st_mtime_ns, status.st_size)
        return found
