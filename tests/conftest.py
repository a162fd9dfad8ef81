"""Fixtures for every test: real servers, started once per module, on free ports and in their own folders."""

from __future__ import annotations

import faulthandler
import os
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from types import FrameType

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import settings as hypothesis_settings

from gnomon_core.runtime.embedded import EmbeddedNats, EmbeddedPostgres
from tests.ordering import order
from tests.servers import (
    TEST_POSTGRES_OPTIONS,
    clone_database,
    drop_database,
    make_template,
    reachable_folder,
)

# Whoever runs the tests in the background may have them ignore Ctrl-C, and children would inherit that: there are tests
# that end a command as people do.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Several workers share the machine: how long an example takes says nothing.
hypothesis_settings.register_profile("shared machine", deadline=None)
hypothesis_settings.load_profile("shared machine")

TEARDOWN_SECONDS = 60.0
"""The longest that the fixtures of a test may take to end; pytest-timeout watches no teardown after a failure."""
GIVE_UP_AGAIN_SECONDS = 20.0
"""The same for each further fixture, once one of them did not end."""
SESSION_SECONDS = 40 * 60.0
"""The longest that one call of pytest may take before it is ended from outside of its event loops."""
SESSION_GIVEN_UP = 70
"""Exit code of a call that was ended so; none of pytest's own, so that nothing takes it for failed tests."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """Whatever hangs, a call of pytest ends, says where every thread stood, and is not green."""

    capture = session.config.pluginmanager.getplugin("capturemanager")

    def give_up() -> None:
        if capture is not None:
            capture.suspend_global_capture()
        faulthandler.dump_traceback(sys.stderr.fileno())
        os._exit(SESSION_GIVEN_UP)

    limit = threading.Timer(SESSION_SECONDS, give_up)
    limit.daemon = True
    limit.start()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several workers share the tests, they take the files in an order that keeps them all busy."""
    if hasattr(config, "workerinput"):
        order(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """A fixture that does not end is given up with an error, and the next one is ended."""

    def give_up(_signal: int, _frame: FrameType | None) -> None:
        pytest.fail(f"the fixtures of {item.nodeid} did not end within {TEARDOWN_SECONDS:g} s")

    if "chaos" in item.keywords or threading.current_thread() is not threading.main_thread():
        return (yield)
    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, TEARDOWN_SECONDS, GIVE_UP_AGAIN_SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def servers_folder() -> Iterator[Path]:
    """A folder that an unprivileged Postgres can reach too; pytest's own is closed to it."""
    with reachable_folder() as folder:
        yield folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats_server(servers_folder: Path) -> AsyncIterator[EmbeddedNats]:
    """One nats-server for the module, which a test may stop, kill, pause and restart."""
    server = EmbeddedNats(servers_folder / "nats", fast=True)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats_url(nats_server: EmbeddedNats) -> str:
    """The address of the module's nats-server (streams are R1)."""
    return nats_server.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats_cluster(servers_folder: Path) -> AsyncIterator[EmbeddedNats]:
    """A JetStream cluster of three nodes for the module: `.url`, and `.nodes[i]` to kill, pause, restart."""
    cluster = EmbeddedNats(servers_folder / "cluster", nodes=3, fast=True)
    await cluster.start()
    yield cluster
    await cluster.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _shared_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """The Postgres of all modules, with a template; tests that stop Postgres take `postgres_server`."""
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres", fast=True, options=TEST_POSTGRES_OPTIONS)
        await server.start()
        await make_template(server)
        yield server
        await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_url(_shared_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a database for this module alone, cloned from the migrated template."""
    name = f"test_{secrets.token_hex(6)}"
    yield await clone_database(_shared_postgres, name)
    await drop_database(_shared_postgres, name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_server(servers_folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres with an empty database for this module alone, to stop, kill, pause and restart."""
    server = EmbeddedPostgres(servers_folder / "postgres", fast=True, options=TEST_POSTGRES_OPTIONS)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to the module's database."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()
