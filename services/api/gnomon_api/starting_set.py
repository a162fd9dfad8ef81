"""Seeing to it that a new Gnomon has the templates that it begins with: once, by commands like any other's.

Which of them were ever made is kept in a key of `GNOMON_ACCOUNTS`, so one that was deleted stays deleted, and one that
was changed stays changed; a release that brings further ones makes just those. Killed between the command and the key,
the command is sent again: then the template is there, or was deleted, and either counts as made. Two processes that do
the same at once do no harm: the second create finds the first one's template.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from typing_extensions import override

from gnomon_api.commander import Commander, WantedCommand
from gnomon_api.identity import Caller
from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.kv import kv_get, kv_put
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import new_traceparent
from gnomon_schemas.headers import ADMIN_ROLE
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import ACCOUNTS_BUCKET, STARTING_SET_KEY

__all__ = ["StartingSet"]

_log = structlog.get_logger(__name__)
_CALLER: Final = Caller(user_id="gnomon", roles=frozenset({ADMIN_ROLE}))
_SETTLED: Final = frozenset({Code.ALREADY_EXISTS, Code.DELETED})
"""Refusals that mean that the template was made before."""


class StartingSet(Service):
    """Makes the templates that were never made here, then has nothing more to do."""

    def __init__(
        self, bus: Bus, commander: Commander, templates: Mapping[str, Mapping[str, Any]], *, within: float
    ) -> None:
        """`within`: seconds to wait for the outcome of a command before it is sent again."""
        super().__init__("starting-set")
        self._bus, self._commander, self._templates = bus, commander, templates
        self._within = within
        self.done = asyncio.Event()
        """Set when all of them were made at some time."""

    @override
    async def on_start(self) -> None:
        """Begin, beside everything else: requests need not wait for it."""
        _ = self.spawn(self._run(), "make")

    async def _run(self) -> None:
        backoff = Backoff(first=0.5, longest=30.0)
        while True:
            try:
                if await self.make():
                    self.done.set()
                    return
            except (BusError, Refused) as error:
                # The broker is away, or nobody decides yet: the commands keep their ids.
                _log.info(LogEvent.STARTING_SET_WAITS, error=str(error))
            await backoff.pause()

    async def make(self) -> bool:
        """Make those that were never made; whether all were then. Raises BusError, Refused."""
        made = await self._made()
        for template_id, spec in self._templates.items():
            if template_id in made:
                continue
            if not await self._make(template_id, spec):
                return False
            made.append(template_id)
            await kv_put(self._bus, ACCOUNTS_BUCKET, STARTING_SET_KEY, msgspec.json.encode(sorted(made)))
        return True

    async def _made(self) -> list[str]:
        entry = await kv_get(self._bus, ACCOUNTS_BUCKET, STARTING_SET_KEY)
        return [] if entry is None else msgspec.json.decode(entry.value, type=list[str])

    async def _make(self, template_id: str, spec: Mapping[str, Any]) -> bool:
        wanted = WantedCommand(
            kind="template",
            verb="create",
            object_id=template_id,
            command_id=f"starting-{template_id}",
            payload=msgspec.json.encode(spec),
            caller=_CALLER,
            traceparent=new_traceparent(),
        )
        outcome = await self._commander.send(wanted, within=self._within)
        if outcome is None:
            return False
        code = None if outcome.ok or outcome.error is None else outcome.error.code
        if code is not None and code not in _SETTLED:
            _log.error(LogEvent.STARTING_SET_REFUSED, template=template_id, code=code)
        return True
