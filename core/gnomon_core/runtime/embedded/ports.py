"""Choosing the TCP ports of embedded servers.

Two rules. A port that somebody asked for is taken as it is, or refused; a default is only a wish, and moves
to a free port when it is taken. Free ports are looked for *below* the range from which the system takes the
ports of outgoing connections. A server that is restarted on a port inside that range may find it used by such
a connection, and a client that knocks while the server is away may even be connected with itself.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

from gnomon_core.runtime.embedded.errors import EmbeddedServerError, PortTaken

__all__ = ["LOOPBACK", "choose_port", "free_port", "is_free"]

LOOPBACK = "127.0.0.1"
"""The only address on which embedded servers listen."""

# Linux hands out 32768 and above to outgoing connections, macOS 49152 and above.
_LOWEST, _HIGHEST = 15_000, 32_000
_ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Tell whether nobody listens on this port of the loopback address at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do it: a connection of the last run that lingers in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(*, avoid: Collection[int] = ()) -> int:
    """Return a port that is free now and none of those to avoid.

    Raises `EmbeddedServerError` when none is found.
    """
    for _ in range(_ATTEMPTS):
        port = random.randint(_LOWEST, _HIGHEST)
        if port not in avoid and is_free(port):
            return port
    raise EmbeddedServerError(
        f"found no free port on {LOOPBACK} between {_LOWEST} and {_HIGHEST}: close some servers and try again"
    )


def choose_port(*, asked: int | None, default: int | None, what: str) -> int:
    """Return the port for a server.

    `asked` is the port that the user named (1 to 65535), `default` the one wished for otherwise, `what` the
    name of the server for the message. Raises `PortTaken` when the port asked for is in use,
    `EmbeddedServerError` when it is no port at all.
    """
    if asked is None:
        return default if default is not None and is_free(default) else free_port()
    if not 1 <= asked <= 65_535:
        raise EmbeddedServerError(f"the port of {what} is {asked}: allowed is 1 to 65535")
    if not is_free(asked):
        raise PortTaken(
            f"port {asked} of {LOOPBACK}, asked for {what}, is taken: "
            "stop its user, or ask for another port, or for none to get a free one"
        )
    return asked
