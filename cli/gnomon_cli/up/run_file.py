"""`DIR/run.json`: where a running Gnomon is, for the other commands and for people's own scripts.

Written whole and put in place by renaming, so a reader sees the old text or the new one. It is removed by a
clean stop; after a SIGKILL it stays, and its process id tells that nobody is there any more.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

__all__ = ["ProcessEntry", "RunFile", "RunFileError", "read_run_file", "remove_run_file", "write_run_file"]

_NAME = "run.json"


class RunFileError(Exception):
    """The file is there but cannot be read. The message names it and says why."""


class ProcessEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One child process. `health_url` answers `/livez`, `/readyz` and `/metrics`; None for the servers."""

    name: str
    pid: int
    log: str
    health_url: str | None = None


class RunFile(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and process ids.

    `database_url` holds the password, which is why only the owner can read the file.
    """

    pid: int
    """Of `gnomon up` itself."""
    started_at: str
    url: str
    """Of the api, without path."""
    nats_url: str
    database_url: str
    fast: bool = False
    nats_monitor: str | None = None
    """Monitoring port of the embedded nats-server."""
    processes: tuple[ProcessEntry, ...] = ()


def read_run_file(folder: Path) -> RunFile:
    """Read the file in this data folder.

    Raises FileNotFoundError, or `RunFileError` when it makes no sense.
    """
    path = folder / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunFile)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise RunFileError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise RunFileError(f"{path} is not what `gnomon up` writes: {error}") from error


def write_run_file(folder: Path, content: RunFile) -> None:
    """Put the file in place, readable by its owner only."""
    # mkstemp makes the file with mode 600 from the start.
    descriptor, fresh = tempfile.mkstemp(prefix=".run-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
        os.replace(fresh, folder / _NAME)
    except BaseException:
        os.unlink(fresh)
        raise


def remove_run_file(folder: Path) -> None:
    """Remove the file; nothing happens when there is none."""
    (folder / _NAME).unlink(missing_ok=True)
