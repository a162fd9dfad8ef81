"""Suspecting holders of leases: finding out within half a second that a process is gone.

A holder answers pings on a subject of its own. When its process dies, the broker drops its subscription at
once, and whoever asks is told "no responders": the broker's word that nobody listens, which a slow or
blocked process never causes. Two such answers, 200 ms apart, make a lease suspect, and it may be taken by
compare-and-set.

Not believed: an answer on a connection younger than 2 s. After a restart of the broker everybody reconnects
within moments of each other, and the first one back would suspect all others. A holder that was suspected
wrongly loses nothing but the lease: what it writes is fenced, and its next renewal tells it.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

import structlog
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import NoAnswer, NoResponders
from gnomon_core.runtime.lease_watch import LeaseWatch
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.subjects import leader_ping

__all__ = ["LeaseSuspicion"]

_ASK_EVERY = 0.25
_CONFIRM_AFTER = 0.2
_PATIENCE = 1.0
_CONNECTION_AGE = 2.0

_log = structlog.get_logger(__name__)


class LeaseSuspicion(Service):
    """Pings the holders of some leases that are not this member's. Calls `on_suspect` when one becomes
    suspect."""

    def __init__(
        self,
        bus: NatsBus,
        watch: LeaseWatch,
        names: dict[str, str],
        me: str,
        *,
        on_suspect: Callable[[], None],
    ) -> None:
        """`names`: what the ping subject says, by lease key."""
        super().__init__(f"{watch.name}:suspicion")
        self._bus = bus
        self._watch = watch
        self._names = names
        self._me = me
        self._on_suspect = on_suspect
        self._suspect: dict[str, int] = {}
        self._turn = 0

    def is_suspect(self, key: str) -> bool:
        """Whether the holder seen at present did not answer. A renewal clears it: the dead do not renew."""
        view = self._watch.views.get(key)
        return view is not None and self._suspect.get(key) == view.revision

    @override
    async def on_start(self) -> None:
        """Begin to ask."""
        _ = self.spawn(self._ask(), "ask")

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(_ASK_EVERY)
            holders: defaultdict[str, list[str]] = defaultdict(list)
            for key in self._names:
                view = self._watch.views.get(key)
                if view is not None and view.lease is not None and view.lease.owner != self._me:
                    holders[view.lease.owner].append(key)
            self._turn += 1
            # One lease stands for all of its holder's: they are answered for by one process.
            asked = [keys[self._turn % len(keys)] for keys in holders.values()]
            silent = await self._silent(asked)
            if not silent:
                continue
            owners = [owner for owner, keys in holders.items() if silent.keys() & set(keys)]
            await self._confirm([key for owner in owners for key in holders[owner]])

    async def _confirm(self, keys: list[str]) -> None:
        first = await self._silent(keys)
        await asyncio.sleep(_CONFIRM_AFTER)
        second = await self._silent(first)
        for key, revision in second.items():
            view = self._watch.views.get(key)
            # The same value all along: a renewal, or a new holder, in between is a sign of life.
            if view is None or view.lease is None or not revision == first[key] == view.revision:
                continue
            if not self.is_suspect(key):
                self._suspect[key] = revision
                _log.warning(
                    LogEvent.LEASE_SUSPECTED, lease=key, owner=view.lease.owner, epoch=view.lease.epoch
                )
                self._on_suspect()

    async def _silent(self, keys: Iterable[str]) -> dict[str, int]:
        """Of these keys those on whose ping subject nobody listens, with the revision that was asked
        about."""
        asked = list(keys)
        answers = await asyncio.gather(*[self._nobody_answers(key) for key in asked])
        return {key: revision for key, revision in zip(asked, answers, strict=True) if revision is not None}

    async def _nobody_answers(self, key: str) -> int | None:
        view = self._watch.views.get(key)
        since = self._bus.connected_since
        if view is None or view.lease is None or since is None or time.monotonic() - since < _CONNECTION_AGE:
            return None
        try:
            _ = await self._bus.request(leader_ping(self._names[key], view.lease.epoch), b"", _PATIENCE)
        except NoResponders:
            return view.revision
        except NoAnswer:
            return None
        return None
