"""One lease as its holder sees it: taking it, renewing it, giving it up, and answering for it.

A held lease is a value under a key with a TTL, which only its holder rewrites, each time expecting the
revision of its own last write. So it is lost exactly when somebody else's write, or the broker's marker of
its expiry, comes between: then the next renewal is refused. And it is lost *for its holder* as soon as a
whole TTL has passed since the last renewal that is known to have been stored was sent: from then on another
may hold it, whatever the network says.

While it is held, the process answers `gnomon.leader.<key>.<epoch>.ping`. The subscription is made *before*
the lease is written and given up after it is gone, so that nobody who asks the holder of a lease finds
silence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import (
    IN_PROCESS_PAUSE,
    BusError,
    InProcess,
    NoAnswer,
    NotCommitted,
    WrongSequence,
)
from gnomon_core.runtime.kv import kv_delete, kv_get, kv_update
from gnomon_core.runtime.lease_watch import EPOCH_HEADER, LEAVING_HEADER, LeaseView, LeaseWatch, decode_lease
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.members import Lease
from gnomon_schemas.subjects import LEASES_BUCKET, leader_ping

_log = structlog.get_logger(__name__)

__all__ = ["LeaseKey"]


class LeaseKey:
    """One key, held or not, for one member."""

    def __init__(
        self,
        bus: NatsBus,
        watch: LeaseWatch,
        key: str,
        *,
        name: str,
        owner: str,
        ttl: float,
        alive: Callable[[], bool],
    ) -> None:
        """`name` is what the ping subject says; `alive`: whether the holder does its work and may answer
        pings."""
        self.key = key
        self.lease: Lease | None = None
        """What is held; None when it is not."""
        self.revision = 0
        """Revision of the last write of one's own."""
        self._bus = bus
        self._watch = watch
        self._name = name
        self._owner = owner
        self._ttl = ttl
        self._alive = alive
        self._patience = max(0.5, ttl / 5)
        self._until = 0.0
        self._answering = 0
        self._pings: Subscription | None = None
        self._turn = asyncio.Lock()

    @property
    def held(self) -> bool:
        """Whether the lease is held: taken, and not known or assumed to be lost."""
        return self.lease is not None

    @property
    def outlived(self) -> bool:
        """Whether a whole TTL has passed since the last renewal that counts was sent."""
        return self.lease is not None and asyncio.get_running_loop().time() >= self._until

    async def take(self, view: LeaseView | None) -> bool:
        """Try to take the lease over from the state `view` (None: nothing was ever there); whether it is
        held now.

        It must be the view on which this was decided, and not a later one, which may show a new holder.
        False when somebody else was quicker, or when the broker did not answer and the key is not mine.
        """
        async with self._turn:
            if self.lease is not None:
                return True
            lease = Lease(owner=self._owner, epoch=(view.epoch if view is not None else 0) + 1)
            try:
                await self._answer_pings(lease.epoch)
                if await self._write(lease, view.revision if view is not None else 0):
                    return True
            except (NoAnswer, NotCommitted) as error:
                # Should it have been stored, the key shows up as mine without being held, and is taken again.
                _log.debug(LogEvent.LEASE_WRITE_FAILED, lease=self.key, error=str(error))
            await self._silence()
            return False

    async def renew(self) -> bool:
        """Write the lease anew; whether it is still held. Without an answer it is, until it is outlived."""
        async with self._turn:
            if self.lease is None:
                return False
            if not self._alive():
                await self._silence()
                return not self.outlived
            return await self._rewrite(self.lease)

    async def raise_epoch(self, epoch: int) -> bool:
        """Set the epoch of a held lease to `epoch` if that is higher; whether the lease is still held."""
        async with self._turn:
            if self.lease is None:
                return False
            if epoch <= self.lease.epoch:
                return True
            return await self._rewrite(msgspec.structs.replace(self.lease, epoch=epoch))

    async def give_up(self, *, leaving: bool) -> None:
        """Delete the key, if it is still one's own, so that others take it at once."""
        async with self._turn:
            if self.lease is None:
                return
            headers = {EPOCH_HEADER: str(self.lease.epoch)}
            if leaving:
                headers[LEAVING_HEADER] = self._owner
            try:
                _ = await kv_delete(
                    self._bus, LEASES_BUCKET, self.key, revision=self.revision, expiring=True, headers=headers
                )
            except BusError as error:
                # Taken by another, or no broker to tell: then the key expires by itself.
                _log.debug(LogEvent.LEASE_WRITE_FAILED, lease=self.key, error=str(error))
            self.lease = None
            await self._silence()

    async def forget(self) -> None:
        """The lease is lost: hold nothing and answer no more."""
        self.lease = None
        async with self._turn:
            self.lease = None
            await self._silence()

    async def _rewrite(self, lease: Lease) -> bool:
        """Write a held lease anew; whether it is still held. Without an answer it is, until it is
        outlived."""
        try:
            if self._pings is None or self._answering != lease.epoch:
                await self._answer_pings(lease.epoch)
            return await self._write(lease, self.revision)
        except (NoAnswer, NotCommitted) as error:
            _log.debug(LogEvent.LEASE_WRITE_FAILED, lease=self.key, error=str(error))
            return self.held and not self.outlived

    async def _write(self, lease: Lease, expected: int) -> bool:
        """Compare-and-set, following the key's revision where it is one's own; whether `lease` is stored.

        Raises NoAnswer and NotCommitted when that is unknown, or known not to be so and worth another try.
        """
        value = msgspec.json.encode(lease)
        renewing = self.held
        while True:
            sent = asyncio.get_running_loop().time()
            try:
                revision = await kv_update(
                    self._bus, LEASES_BUCKET, self.key, value, expected, ttl=self._ttl, timeout=self._patience
                )
            except InProcess:
                await asyncio.sleep(IN_PROCESS_PAUSE)
                continue
            except WrongSequence as refusal:
                if refusal.last_seq == 0 and not renewing:
                    # The marker of expiry that was expected has gone too: nothing is there.
                    self._watch.absent(self.key)
                    expected = 0
                    continue
                found = await self._mine()
                if found is None:
                    return False
                expected = found
                continue
            except NoAnswer:
                found = await self._mine()
                if found is None or found == expected:
                    raise
                expected = found
                continue
            if renewing and not self.held:
                # Given up for lost meanwhile. The key shows up as mine, and is taken again or expires.
                return False
            self.lease, self.revision, self._until = lease, revision, sent + self._ttl
            return True

    async def _mine(self) -> int | None:
        """The key's revision if its last message is a value of this member's; None if not. Updates the
        view."""
        entry = await kv_get(self._bus, LEASES_BUCKET, self.key, even_gone=True, timeout=self._patience)
        if entry is None:
            self._watch.absent(self.key)
            return None
        _ = self._watch.learn(entry)
        lease = None if entry.gone else decode_lease(entry.value)
        return entry.revision if lease is not None and lease.owner == self._owner else None

    async def _answer_pings(self, epoch: int) -> None:
        async def answer(message: Msg) -> None:
            if self._alive() and message.reply:
                await self._bus.send(message.reply, self._owner.encode())

        fresh = await self._bus.subscribe(leader_ping(self._name, epoch), answer)
        await self._silence()
        self._pings, self._answering = fresh, epoch

    async def _silence(self) -> None:
        pings, self._pings = self._pings, None
        if pings is None:
            return
        try:
            await pings.unsubscribe()
        except nats.errors.Error as error:
            _log.debug(
                LogEvent.NATS_ERROR, error=repr(error)
            )  # the connection is closed, and the subscription with it
