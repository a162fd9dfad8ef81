"""Where a nats-server collects atomic batches: in memory, for one that runs `fast`.

A stream of one replica collects each batch in a file store of its own before it stores it: three folders and
half a dozen files that are made, synced and deleted within a millisecond, also where fsync is left to the
system. On a disk that costs several times what the rest of the write does, and a file system without a journal
takes longer the more files were deleted in the last half minute, since it does not use their inodes again for
so long. So the folder of these batches becomes a link to one on tmpfs.

What it is for tells where it may be used. After a crash the server looks there for the rest of a batch that it
had begun to store. A process that was killed finds it: tmpfs outlives it. After a power cut it is gone, and a
batch may be left torn. A server that runs `fast` does not promise more than that, since it syncs neither its
batches nor its streams; one that syncs promises it, and keeps its batches on disk.

The server removes the link, as it would the folder, when it starts, and goes by folders in telling what it should
hold, so the link is made when the server is up and the stream is there: a thread looks for that, since nobody tells.
Where the first batch is quicker, or there is no tmpfs with room, batches are on disk as ever: slower, nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["TMPFS", "BatchStaging"]

TMPFS: Final = Path("/dev/shm")
"""Where Linux keeps files in memory."""

_ROOM: Final = 256 * 1024 * 1024
"""Bytes that must be free: a batch that finds no room would be refused again and again."""
_LOOK_EVERY_SECONDS: Final = 0.05
_STREAMS: Final = Path("jetstream", "$G", "streams")
"""Where the store keeps the streams of the account that everybody is in where none is configured."""


class BatchStaging:
    """The batch folders of some streams of one server.

    `store` is its JetStream folder; `tmpfs` where files are in memory.
    """

    def __init__(self, store: Path, streams: Sequence[str], tmpfs: Path = TMPFS) -> None:
        self._links = {name: store / _STREAMS / name / "batches" for name in streams}
        name = hashlib.sha256(os.fsencode(store.absolute())).hexdigest()[:24]
        # The same for every run on this store: the next one looks there for what a killed one left.
        self._target = tmpfs / f"gnomon-batches-{os.getuid()}-{name}"
        self._ended = threading.Event()
        self._linking: threading.Thread | None = None

    def begin(self) -> None:
        """Have batches collected in memory, where that can be. To be called when the server is up; again is fine."""
        if self._linking is None and self._available():
            self._ended.clear()
            self._linking = threading.Thread(
                target=self._keep_linked, name="gnomon-batch-staging", daemon=True
            )
            self._linking.start()

    def end(self) -> None:
        """Make no more links. To be called when the server is to end. Waits for a link that is being made, which takes
        less than a millisecond: made after `clear`, it would lead nowhere."""
        if self._linking is not None:
            self._ended.set()
            self._linking.join()
            self._linking = None

    def link(self) -> None:
        """Link the folders of the streams that are there."""
        for name, link in self._links.items():
            # The server writes this file when it has made the stream.
            if link.is_symlink() or not (link.parent / "meta.sum").exists():
                continue
            try:
                (self._target / name).mkdir(exist_ok=True)
                link.symlink_to(self._target / name)
            except OSError:
                continue  # a batch was quicker, or the stream or the memory is gone again

    def clear(self) -> None:
        """Remove what is in memory. To be called when the server has ended by itself: then nothing is left to
        finish."""
        for link in self._links.values():
            if link.is_symlink():
                link.unlink()
        shutil.rmtree(self._target, ignore_errors=True)

    def _keep_linked(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_SECONDS):
            self.link()

    def _available(self) -> bool:
        """Whether there is memory to use, in a folder that nobody else can have put there."""
        try:
            space = os.statvfs(self._target.parent)
            if space.f_bavail * space.f_frsize < _ROOM:
                return False
            self._target.mkdir(mode=0o700, exist_ok=True)
            found = self._target.lstat()
        except OSError:
            return False
        return self._target.is_dir() and not self._target.is_symlink() and found.st_uid == os.getuid()
