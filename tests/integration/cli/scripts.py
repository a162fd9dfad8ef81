"""Small real processes that stand where a service would, to be started, killed and restarted by the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from gnomon_cli.up.children import ServiceChild
from gnomon_core.runtime.embedded import LOOPBACK, free_port

SERVES: Final = """
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(os.environ["GNOMON_HEALTH_PORT"])))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("serving as", os.getpid(), flush=True)
while True:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n{}")
"""
"""Is ready at once; ends well on SIGTERM."""

IGNORES_TERM: Final = SERVES.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
"""Has to be killed."""

FAILS: Final = """
import sys
print("GNOMON_THING='x': allowed is y", file=sys.stderr)
sys.exit(3)
"""
"""Cannot start, and says why."""

FAILS_UNTIL_MENDED: Final = (
    """
import os, sys
if not os.path.exists(os.environ["MENDED"]):
    sys.exit("not mended")
"""
    + SERVES
)
"""Cannot start until the file named by MENDED exists."""


def service(script: str, folder: Path, *, grace: float = 10.0, **extra: str) -> ServiceChild:
    """A service child that runs this script, with its log and lock in the folder."""
    port = free_port()
    return ServiceChild(
        "worker-1",
        command=[sys.executable, "-c", script],
        env={"PATH": os.environ["PATH"], "GNOMON_HEALTH_PORT": str(port), **extra},
        folder=folder,
        log=folder / "worker-1.log",
        lock=folder / ".worker-1.lock",
        health=(LOOPBACK, port),
        grace=grace,
    )
