"""nats-server and Postgres as supervised child processes, for `gnomon up`, for tests and for benchmarks.

Both listen on 127.0.0.1 only, keep their state in a folder, keep their port over a restart, run as root too,
and do not outlive the process that started them, not even when that is killed with SIGKILL.
"""

from gnomon_core.runtime.embedded.errors import EmbeddedServerError, PlatformRefused, PortTaken
from gnomon_core.runtime.embedded.nats import DEFAULT_NATS_PORT, MAX_PAYLOAD, EmbeddedNats, NatsNode
from gnomon_core.runtime.embedded.ports import LOOPBACK, choose_port, free_port, is_free
from gnomon_core.runtime.embedded.postgres import DEFAULT_POSTGRES_PORT, EmbeddedPostgres

__all__ = [
    "DEFAULT_NATS_PORT",
    "DEFAULT_POSTGRES_PORT",
    "LOOPBACK",
    "MAX_PAYLOAD",
    "EmbeddedNats",
    "EmbeddedPostgres",
    "EmbeddedServerError",
    "NatsNode",
    "PlatformRefused",
    "PortTaken",
    "choose_port",
    "free_port",
    "is_free",
]
