"""All of Gnomon on one machine: what `gnomon up` does from its start to its end.

Start. NATS and Postgres at once; schedulers and executors as soon as NATS is there, the api when both are.
Whatever fails then ends the start, and all that had been started is stopped again. What is ready is told,
with its time.

While it runs. Every child has its `Keeper`. `run.json` is written when all are ready and after each restart.

Stop, on Ctrl-C, SIGTERM or a closed terminal: the api first, so that nobody asks for more; then the
executors, which finish what they have begun; then the schedulers; then the servers. A second Ctrl-C kills
what is left. If this process itself is killed with SIGKILL, the kernel kills the children.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

import nats.errors

from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import FAILED, OK, CliError
from gnomon_cli.event_lines import TaskNames
from gnomon_cli.target import Target
from gnomon_cli.terminal import Terminal
from gnomon_cli.up.announcer import Announcer, shown_path, without_password
from gnomon_cli.up.children import ServiceChild
from gnomon_cli.up.data_folder import check_space, log_folder, take_folder
from gnomon_cli.up.demo import create_demo_tasks, demo_tasks, follow_port
from gnomon_cli.up.keeper import Keeper, Kept
from gnomon_cli.up.live import LiveView
from gnomon_cli.up.log_watch import LogWatch, begin_log
from gnomon_cli.up.own_servers import check_database, check_nats
from gnomon_cli.up.plan import (
    DEFAULT_HTTP_PORT,
    HttpAddress,
    Plan,
    UpOptions,
    check_options,
    choose_http_port,
)
from gnomon_cli.up.reload import ModuleWatch
from gnomon_cli.up.run_file import ProcessEntry, RunFile, remove_run_file, write_run_file
from gnomon_cli.up.servers import NatsChild, PostgresChild
from gnomon_cli.up.task_modules import check_modules
from gnomon_cli.up.waiting import all_of, cancelled, first_of
from gnomon_core.runtime.durability import Sync, read_sync
from gnomon_core.runtime.embedded import DEFAULT_NATS_PORT, LOOPBACK, EmbeddedNats, EmbeddedPostgres
from gnomon_core.runtime.embedded.errors import EmbeddedServerError
from gnomon_schemas.clock_text import format_instant

__all__ = ["run_up"]

_NAME_LOOKUP_SECONDS = 1.0
_ERROR_LINES = 12


async def run_up(options: UpOptions, terminal: Terminal, environ: Mapping[str, str]) -> int:
    """Run everything until it is told to stop; return the exit code.

    Raises `CliError` when it cannot start.
    """
    check_options(options, environ)
    check_modules(options.tasks)
    signals = _StopSignals()
    signals.install()
    with take_folder(options.data) as folder:
        check_space(folder)
        machine = Machine(options, folder, terminal, environ)
        try:
            return await machine.run(signals)
        except OSError as error:
            raise CliError(
                f"{error.filename or folder}: {error.strerror or error}",
                hint="the data folder must be writable, and all below it what `gnomon up` has made",
            ) from None
        except EmbeddedServerError as error:
            first, *rest = str(error).splitlines() or [""]
            raise CliError(
                first, details=rest[-_ERROR_LINES:], hint=f"nothing was left running; data is in {folder}"
            ) from None


class _StopSignals:
    """Signals that mean stop: the first asks for it, a further one loses patience."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()

    def install(self) -> None:
        """Listen to them in the running event loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._received)

    def _received(self) -> None:
        if self.stop.is_set():
            self.hurry.set()
        self.stop.set()


class Machine:
    """One run of `gnomon up` on a data folder that is locked for it."""

    def __init__(
        self, options: UpOptions, folder: Path, terminal: Terminal, environ: Mapping[str, str]
    ) -> None:
        self._options = options
        self._folder = folder
        self._announcer = Announcer(terminal)
        self._say = self._announcer.say
        self._environ = environ
        self._plan = Plan(options, folder, environ)
        self._servers: list[Keeper] = []
        self._schedulers: list[Keeper] = []
        self._executors: list[Keeper] = []
        self._apis: list[Keeper] = []
        self._nats_url = ""
        self._database_url = ""
        self._http = HttpAddress(environ.get("GNOMON_HTTP_HOST") or LOOPBACK, 0)
        self._started_at = format_instant(datetime.now(UTC))
        self._ready = False
        self._logs = LogWatch(self._say)
        self._helpers: list[Callable[[], Awaitable[None]]] = [self._logs.stop]

    async def run(self, signals: _StopSignals) -> int:
        """Start, stay, stop. Raises `CliError` or `EmbeddedServerError` when the start fails."""
        begun = time.monotonic()
        self._say(f"Gnomon, data in {shown_path(self._folder)}", "bold")
        try:
            starting = asyncio.create_task(self._start(begun), name="start")
            await first_of(starting, signals.stop.wait())
            if signals.stop.is_set():
                # Also when the start has just failed: Ctrl-C goes to programs it runs too, as initdb.
                await cancelled(starting)
                return OK
            await starting
            failed = await self._stay(signals)
            return FAILED if failed else OK
        finally:
            await self._stop(signals)

    async def _start(self, begun: float) -> None:
        asked = self._options.http_port
        self._http = HttpAddress(self._http.host, choose_http_port() if asked is None else asked)
        if asked is None and self._http.port != DEFAULT_HTTP_PORT:
            self._announcer.moved("the api", DEFAULT_HTTP_PORT, self._http.port)
        if url := self._environ.get("GNOMON_NATS_URL"):
            await check_nats(url, self._environ.get("GNOMON_NATS_CREDS") or None)
        if url := self._environ.get("GNOMON_DATABASE_URL"):
            await check_database(url)
        self._logs.start()
        with self._announcer.terminal.busy("starting …"):
            await self._start_everything()
        self._ready = True
        self._write_run_file()
        self._announcer.welcome(
            time.monotonic() - begun,
            self._http.url,
            sync=await self._sync(),
            executors=self._options.executors,
        )
        await self._look_on()
        if self._options.demo:
            await self._create_demo()
        else:
            await self._follow_port()

    async def _sync(self) -> Sync | None:
        """How the embedded server writes to disk, by its own account; None: there is none."""
        monitor = self._plan.nats_monitor
        return None if monitor is None else await asyncio.to_thread(read_sync, (monitor,))

    async def _create_demo(self) -> None:
        """Create the sample tasks. Where that fails Gnomon stays up: it is fit for every other task."""
        try:
            remarks = await create_demo_tasks(self._target(), demo_tasks(self._http.url))
        except CliError as error:
            self._say("\n".join(error.lines()), "red")
            return
        for remark in remarks:
            self._say(remark, "yellow")

    async def _follow_port(self) -> None:
        """A sample task of an earlier `--demo` asks the api, which may listen on another port now."""
        try:
            remark = await follow_port(self._target(), demo_tasks(self._http.url))
        except CliError as error:
            remark = error.message
        if remark:
            self._say(remark, "yellow")

    async def _start_everything(self) -> None:
        nats_ready = asyncio.get_running_loop().create_future()
        postgres_ready = asyncio.get_running_loop().create_future()

        async def servers_then(start: Callable[[], Awaitable[None]], ready: asyncio.Future[None]) -> None:
            await start()
            ready.set_result(None)

        async def workers() -> None:
            await nats_ready
            schedulers = self._plan.schedulers(self._nats_url)
            executors = self._plan.executors(self._nats_url)
            await all_of(
                *(self._launch(child, self._schedulers) for child in schedulers),
                *(self._launch(child, self._executors) for child in executors),
            )

        async def api() -> None:
            await nats_ready
            await postgres_ready
            await self._launch(self._plan.api(self._nats_url, self._database_url, self._http), self._apis)

        await all_of(
            servers_then(self._start_nats, nats_ready),
            servers_then(self._start_postgres, postgres_ready),
            workers(),
            api(),
        )

    async def _start_nats(self) -> None:
        if url := self._environ.get("GNOMON_NATS_URL"):
            self._nats_url = url
            self._announcer.component("nats-server", without_password(url), "yours, by GNOMON_NATS_URL")
            return
        server = EmbeddedNats(
            self._folder / "nats",
            port=self._options.nats_port,
            default_port=DEFAULT_NATS_PORT,
            fast=self._options.fast,
            mqtt_port=self._options.mqtt_port,
        )
        took = await self._keep(NatsChild(server), self._servers)
        self._nats_url = server.url
        self._plan.nats_monitor = server.nodes[0].monitor_url
        port = urlsplit(server.url).port or 0
        if self._options.nats_port is None and port != DEFAULT_NATS_PORT:
            self._announcer.moved("nats-server", DEFAULT_NATS_PORT, port)
        _link(log_folder(self._folder) / "nats-server.log", server.nodes[0].folder / "server.log")
        self._announcer.component("nats-server", without_password(server.url), f"{took:.1f} s")
        if self._options.mqtt_port is not None:
            self._announcer.component("mqtt", f"mqtt://{LOOPBACK}:{self._options.mqtt_port}", "for devices")

    async def _start_postgres(self) -> None:
        if url := self._environ.get("GNOMON_DATABASE_URL"):
            self._database_url = url
            self._announcer.component("postgres", without_password(url), "yours, by GNOMON_DATABASE_URL")
            return
        folder = self._folder / "postgres"
        folder.mkdir(mode=0o711, exist_ok=True)
        server = EmbeddedPostgres(folder, fast=self._options.fast)
        took = await self._keep(PostgresChild(server), self._servers)
        self._database_url = server.url
        _link(log_folder(self._folder) / "postgres.log", folder / "server.log")
        self._announcer.component("postgres", without_password(server.url), f"{took:.1f} s")

    async def _launch(self, child: ServiceChild, keepers: list[Keeper]) -> None:
        begin_log(child.log)
        self._logs.add(child.name, child.log)
        took = await self._keep(child, keepers)
        place = self._http.url if child.name == "api" else f"process {child.pid}"
        self._announcer.component(child.name, place, f"{took:.1f} s")

    async def _keep(self, child: Kept, keepers: list[Keeper]) -> float:
        keeper = Keeper(child, tell=self._say, changed=self._write_run_file)
        # Noted before the start, so that a stop in the middle of it finds what there is to stop.
        keepers.append(keeper)
        return await keeper.start()

    async def _look_on(self) -> None:
        """Start what shows things: the live view, and the watch on the user's modules."""
        if self._options.reload:
            modules = ModuleWatch(self._options.tasks, self._reload)
            modules.start()
            self._helpers.append(modules.stop)
        api = ApiClient(self._target(), timeout=_NAME_LOOKUP_SECONDS)
        view = LiveView(
            self._announcer.terminal, TaskNames(), look_up=lambda task_id: _task_name(api, task_id)
        )
        self._helpers.append(view.stop)
        try:
            await view.start(self._nats_url, self._environ.get("GNOMON_NATS_CREDS") or None)
        except (nats.errors.Error, OSError) as error:
            self._say(f"no live view: {error}", "yellow")

    async def _stay(self, signals: _StopSignals) -> bool:
        """Wait for the word to stop (false), or for an error of this program itself (true)."""
        failures = [
            asyncio.create_task(keeper.wait_failed(), name="wait-failed") for keeper in self._keepers()
        ]
        try:
            await first_of(*failures, signals.stop.wait())
            failed = [failure.result() for failure in failures if failure.done()]
        finally:
            await cancelled(*failures)
        for failure in failed:
            self._say(f"gnomon up itself failed: {failure!r}", "bold red")
        return bool(failed)

    async def _stop(self, signals: _StopSignals) -> None:
        begun = time.monotonic()
        running = self._keepers()
        if running:
            what = "api, executors, schedulers, servers" if self._ready else "what was started"
            self._say(f"stopping {what} (Ctrl-C again: at once)", "bold")
        hurry = asyncio.create_task(self._kill_on(signals.hurry), name="hurry")
        try:
            for group in (self._apis, self._executors, self._schedulers, self._servers):
                if group is self._servers:
                    await self._stop_helpers()
                await self._stop_group(group)
        finally:
            await cancelled(hurry)
            remove_run_file(self._folder)
        if running:
            self._say(f"stopped after {time.monotonic() - begun:.1f} s; nothing is left running", "bold")

    async def _stop_group(self, group: list[Keeper]) -> None:
        """Stop these side by side; one that cannot be stopped does not keep the others."""
        outcomes = await asyncio.gather(*(keeper.stop() for keeper in group), return_exceptions=True)
        for keeper, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                self._say(f"{keeper.child.name} could not be stopped: {outcome}", "red")

    async def _stop_helpers(self) -> None:
        while self._helpers:
            await self._helpers.pop()()

    async def _kill_on(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._say("at once, then", "bold")
        for keeper in self._keepers():
            keeper.child.kill()

    def _reload(self, file: Path) -> None:
        self._say(f"{file.name} changed: executors start again", "cyan")
        for keeper in self._executors:
            keeper.restart()

    def _target(self) -> Target:
        return Target(self._http.url, self._environ.get("GNOMON_TOKEN") or None, "gnomon up")

    def _write_run_file(self) -> None:
        """Tell the other commands where everything is; while the start is under way it is nowhere yet."""
        if not self._ready:
            return
        content = RunFile(
            pid=os.getpid(),
            started_at=self._started_at,
            url=self._http.url,
            nats_url=self._nats_url,
            database_url=self._database_url,
            fast=self._options.fast,
            nats_monitor=self._plan.nats_monitor,
            processes=tuple(entry for keeper in self._keepers() for entry in self._entries(keeper.child)),
        )
        try:
            write_run_file(self._folder, content)
        except OSError as error:
            # A full disk is no reason to stop what runs.
            self._say(f"cannot write {self._folder / 'run.json'}: {error.strerror}", "red")

    def _entries(self, child: Kept) -> list[ProcessEntry]:
        if isinstance(child, ServiceChild):
            host, port = child.health
            return [
                ProcessEntry(
                    name=child.name, pid=child.pid, log=str(child.log), health_url=f"http://{host}:{port}"
                )
            ]
        logs = log_folder(self._folder)
        return [ProcessEntry(name=name, pid=pid, log=str(logs / f"{name}.log")) for name, pid in child.pids]

    def _keepers(self) -> tuple[Keeper, ...]:
        """All, in the order in which they are stopped."""
        return (*self._apis, *self._executors, *self._schedulers, *self._servers)


async def _task_name(api: ApiClient, task_id: str) -> str | None:
    """Ask the api for a task's name; None where it does not know it or does not answer."""
    try:
        answer = await asyncio.to_thread(api.get, f"/tasks/{quote(task_id, safe='')}")
    except CliError:
        return None
    name = answer.body.get("name") if isinstance(answer.body, dict) else None
    return name if isinstance(name, str) else None


def _link(link: Path, target: Path) -> None:
    """Let a server's own log be found beside those of the services."""
    if not link.is_symlink():
        link.symlink_to(target)
