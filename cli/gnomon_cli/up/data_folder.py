"""The data folder of `gnomon up`, and the lock that keeps it to one Gnomon at a time.

The lock is an flock on `DIR/up.lock`, held by the process itself: it ends with it, whatever ends it. So a
folder whose Gnomon was killed is free at once, and no process id read from a file decides anything. The
file's content, the process id, is for the message only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gnomon_cli.errors import CliError
from gnomon_cli.up.run_file import RunFileError, read_run_file

__all__ = ["LEAST_FREE_BYTES", "check_space", "log_folder", "take_folder"]

LEAST_FREE_BYTES = 128 * 1024 * 1024
"""A new Postgres cluster takes half of it; with less, the servers fail one after the other in words of their own."""


@contextmanager
def take_folder(folder: Path) -> Iterator[Path]:
    """Make the folder if need be and hold it; yields its absolute path.

    Raises `CliError` when another has it.
    """
    path = folder.absolute()
    try:
        # Others may pass through, since Postgres runs as another user when this is root; nobody else may look
        # in.
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        log_folder(path).mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        why = "it is a file" if path.is_file() else error.strerror
        raise CliError(
            f"cannot keep data in {folder}: {why}",
            hint="name a folder that you can write to, as in `gnomon up --data /tmp/gnomon`",
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(folder, path, descriptor) from None
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield path
    finally:
        os.close(descriptor)


def check_space(folder: Path, least: int = LEAST_FREE_BYTES) -> None:
    """Raises `CliError` when the disk of the folder has less than `least` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < least:
        raise CliError(
            f"the disk of {folder} has {free / 1e6:,.0f} MB left, and Gnomon needs {least / 1e6:,.0f} MB to start",
            hint="make room, or name a folder on another disk with --data DIR",
        )


def log_folder(folder: Path) -> Path:
    """Where the logs of the child processes are."""
    return folder / "logs"


def _taken(named: Path, path: Path, descriptor: int) -> CliError:
    pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    try:
        where = f", {read_run_file(path).url}"
    except (FileNotFoundError, RunFileError):
        where = ""  # it is still starting
    return CliError(
        f"a Gnomon already runs on {path} (process {pid or 'unknown'}{where})",
        hint=f"stop it with Ctrl-C in its terminal or `kill {pid or 'PID'}`, "
        f"or run this one on another folder: gnomon up --data {named}-2",
    )
