"""Discovery: every process answers on the NATS services protocol, so that whoever is on NATS finds what there is.

    nats micro list        nats request '$SRV.PING.gnomon-api' ''        nats micro stats gnomon-executor

`$SRV.PING`, `$SRV.INFO` and `$SRV.STATS` are answered by every process, `….<name>` by those of one kind (the names are
`gnomon-scheduler`, `gnomon-executor`, `gnomon-api`), `….<name>.<id>` by one. The metadata says where a process is: its
host, pid, its own id, and of an api its address. Each has one endpoint, `health`: a request to `gnomon.health.<kind>`
is answered by one process of the kind with what its readiness checks say; the protocol's statistics count these.

It is a courtesy to others. Nothing here stands on it: who is there is told by `GNOMON_MEMBERS`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from os import getpid
from typing import Final

import msgspec
import nats.errors
import nats.micro
from nats.micro.request import Request
from nats.micro.service import Service as MicroService
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.health import Check, readiness
from gnomon_core.runtime.metrics import Process
from gnomon_core.runtime.service import Service
from gnomon_schemas import subjects

__all__ = ["Discovery"]

_WORDS: Final[Mapping[Process, str]] = {
    "scheduler": "Decides when and whether tasks run",
    "executor": "Runs tasks",
    "api": "HTTP, and the read models",
}
_RELEASE: Final = re.compile(r"\d+\.\d+\.\d+")


class Discovery(Service):
    """Answers for one process while it runs."""

    def __init__(
        self,
        bus: NatsBus,
        kind: Process,
        member_id: str,
        version: str,
        checks: Mapping[str, Check],
        *,
        address: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`address` tells, once started, where the process listens for HTTP; None: nowhere."""
        super().__init__("discovery")
        self._bus, self._kind, self._id, self._version = bus, kind, member_id, version
        self._checks, self._address = checks, address
        self._answering: MicroService | None = None

    @override
    async def on_start(self) -> None:
        """Answer from now on, across reconnects."""
        metadata = {
            "id": self._id,
            "host": socket.gethostname(),
            "pid": str(getpid()),
            "release": self._version,
        }
        if (address := self._address()) is not None:
            metadata["http"] = address
        # The protocol wants a semantic version; that of a source tree is none.
        found = _RELEASE.match(self._version)
        self._answering = await nats.micro.add_service(
            self._bus.nc,
            name=f"gnomon-{self._kind}",
            version=found[0] if found else "0.0.0",
            description=_WORDS[self._kind],
            metadata=metadata,
        )
        await self._answering.add_endpoint(
            name="health", subject=subjects.health(self._kind), handler=self._health, queue_group="health"
        )

    @override
    async def on_stop(self) -> None:
        """Answer no more."""
        answering, self._answering = self._answering, None
        if answering is not None and self._bus.connected:
            try:
                await answering.stop()
            except nats.errors.Error:
                return  # the connection broke meanwhile, and the subscriptions with it

    async def _health(self, request: Request) -> None:
        ready, said = await readiness(self._checks)
        await request.respond(msgspec.json.encode({"id": self._id, "ready": ready, "checks": said}))
