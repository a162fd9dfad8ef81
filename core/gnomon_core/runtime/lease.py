"""Leases: who leads which shard, and who holds a duty of which there is one.

**What a lease is.** A key `{owner, epoch}` in `GNOMON_LEASES` with a TTL (default 5 s), renewed by
compare-and-set every fifth of it. It says who *should* lead. It is for efficiency only: that a deposed
leader can do no harm rests on fencing, on the shard register and on the due fence, which live in the streams
and never expire. So every error here costs time or a needless hand-over, and never a slot.

**How it changes hands.**

* *Hand-over*: `on_lose` is awaited, so that the work in hand is finished, and then the key is deleted, which
  every watcher sees within milliseconds. A process that stops says with it that it is leaving.
* *Suspicion*: the holder's process is gone, which the broker tells ("no responders"): half a second
  (`lease_suspicion`).
* *Expiry*: the holder is paused or cut off; the broker removes the key after the TTL and leaves a marker.

**When it is lost.** A holder knows by a refused renewal, by seeing another's write, or by its own clock:
once a TTL has passed since the last stored renewal was sent, it holds nothing, whether or not the broker can
be reached. Then `on_lose` is called at once, even while `on_gain` is still at work (which is cancelled
first).

**Who takes a free one.** Members spread them evenly (`lease_spread`), each from its own view. A lease that
nobody picks up within a moment is taken by anybody with room, and soon by anybody at all. A member that let
its leases lapse is not counted on until it has announced itself again, nor one that has fallen silent while
others announce themselves, or two schedulers would wait out the ten seconds in which a dead third one is still
listed.

**Epochs.** A lease taken over gets the highest epoch seen on its key, plus one. When the key has gone
altogether (all schedulers were away), that may be too low: the shard register
remembers, and the shard corrects it by `raise_epoch`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.lease_key import LeaseKey
from gnomon_core.runtime.lease_spread import spread
from gnomon_core.runtime.lease_suspicion import LeaseSuspicion
from gnomon_core.runtime.lease_watch import LeaseView, LeaseWatch
from gnomon_core.runtime.membership import RENEW_EVERY, MemberWatch
from gnomon_core.runtime.metrics import Metric
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.members import Lease

__all__ = ["Leases", "SingletonLease", "shard_key"]

_ANYBODY_WITH_ROOM = 0.4
"""Seconds for which a free lease waits for the member it falls to."""
_ANYBODY = 1.5
"""Seconds after which a free lease is taken by whoever sees it."""
_NOT_COUNTED_ON = 10.0
"""Seconds for which a member that did not pick up what fell to it is left out."""
_BEHIND_SECONDS = 2.5 * RENEW_EVERY
"""A member whose announcements are so far behind those of others is not counted on."""
_AFTER_FAILED_START = 2.0
"""Seconds for which a lease whose work could not be begun here is left to others."""

_log = structlog.get_logger(__name__)


def shard_key(partition: int) -> str:
    """The key of a shard's lease."""
    return f"shard.{partition}"


class _Post:
    """One lease and what this process is doing about it."""

    def __init__(self, number: int, key: LeaseKey) -> None:
        self.number = number
        self.key = key
        self.gain: asyncio.Task[None] | None = None
        self.taking = False
        self.ending = False
        self.renewing = False
        self.free_since: float | None = None
        self.not_before = 0.0

    @property
    def mine(self) -> bool:
        """Whether it is held, or being taken or given up."""
        return self.key.held or self.taking or self.ending


class _LeaseHolder(Service):
    """What shards and singletons share: taking, renewing, losing. Subclasses decide what to take and
    release."""

    def __init__(
        self,
        bus: NatsBus,
        member_id: str,
        names: Sequence[tuple[str, str]],
        ttl: float,
        *,
        name: str,
        alive: Callable[[int], bool],
        may_lead: Callable[[], bool],
    ) -> None:
        super().__init__(name)
        self._bus = bus
        self._me = member_id
        self._ttl = ttl
        self._may_lead = may_lead
        self._duty = name.partition(":")[2] or "shard"
        """What the metrics call it."""
        self._wake = asyncio.Event()
        self._leaving = False
        self._watch = LeaseWatch(bus, f"{name}:watch", on_change=self._wake.set)
        self._posts = [
            _Post(
                number,
                LeaseKey(
                    bus,
                    self._watch,
                    key,
                    name=ping_name,
                    owner=member_id,
                    ttl=ttl,
                    alive=lambda number=number: alive(number),  # type: ignore[misc]  # mypy knows no default here
                ),
            )
            for number, (key, ping_name) in enumerate(names)
        ]
        self._suspicion = LeaseSuspicion(bus, self._watch, dict(names), member_id, on_suspect=self._wake.set)

    @override
    async def on_start(self) -> None:
        """Learn who holds what, then take part."""
        self._leaving = False
        await self.start_child(self._watch)
        await self.start_child(self._suspicion)
        _ = self.spawn(self._run(), "decide")
        _ = self.spawn(self._renew(), "renew")

    @override
    async def on_stop(self) -> None:
        """Hand everything over: finish the work in hand, then delete the keys."""
        self._leaving = True
        while waiting := [post for post in self._posts if post.mine]:
            self._wake.clear()
            for post in waiting:
                if post.key.held and not post.ending:
                    self._end(post, "released", give_up=True)
            await self._wake.wait()

    async def gained(self, number: int, lease: Lease, revision: int) -> None:
        """Subclasses: begin the work that the lease is for."""
        raise NotImplementedError

    async def lost(self, number: int) -> None:
        """Subclasses: end that work, whether it was begun or not."""
        raise NotImplementedError

    def decide(self, free: set[int], now: float) -> tuple[set[int], set[int]]:
        """Subclasses: (free ones to take, held ones to release)."""
        raise NotImplementedError

    def owner_of(self, number: int) -> str | None:
        """Who holds a lease, as far as this process knows; None when it is free, suspect or lapsed."""
        post = self._posts[number]
        if post.mine:
            return self._me
        view = self._watch.views.get(post.key.key)
        if view is None or view.lease is None or view.lease.owner == self._me:
            return None
        # Heard of neither a renewal nor the end: this process was cut off, and the marker of expiry came and
        # went.
        unheard = self._now() - view.heard > 2 * self._ttl + 1
        return None if unheard or self._suspicion.is_suspect(post.key.key) else view.lease.owner

    async def _run(self) -> None:
        tick = min(0.2, self._ttl / 10)
        while True:
            try:
                async with asyncio.timeout(tick):
                    await self._wake.wait()
            except TimeoutError:
                pass
            if self._leaving:
                return  # `on_stop` does the rest
            self._wake.clear()
            self._check_held()
            self._act()

    def _check_held(self) -> None:
        """Find out which of the held leases are lost."""
        may_lead = self._may_lead()
        for post in self._posts:
            if not post.key.held:
                continue
            view = self._watch.views.get(post.key.key)
            if post.key.outlived:
                self._end(post, "expired", give_up=False)
            elif (
                view is not None
                and view.revision > post.key.revision
                and (view.lease is None or view.lease.owner != self._me)
            ):
                self._end(post, "taken", give_up=False)
            elif not may_lead:
                self._end(post, "clock", give_up=True)

    def _act(self) -> None:
        now = self._now()
        free = set()
        for post in self._posts:
            if self.owner_of(post.number) is None:
                free.add(post.number)
                post.free_since = now if post.free_since is None else post.free_since
            else:
                post.free_since = None
        if not self._bus.connected or not self._may_lead():
            return
        take, release = self.decide(free, now)
        for number in release:
            self._end(self._posts[number], "released", give_up=True)
        for number in take:
            post = self._posts[number]
            if not post.mine and now >= post.not_before:
                post.taking = True
                view = self._watch.views.get(post.key.key)
                _ = self.spawn(self._take(post, view), f"take:{post.key.key}")

    async def _take(self, post: _Post, view: LeaseView | None) -> None:
        how = "free"
        if view is not None and view.expired:
            how = "expired"
        elif view is not None and view.lease is not None:
            # Mine without being held: written by a try whose answer was lost. Another's: not heard of for
            # too long.
            lapsed = "adopted" if view.lease.owner == self._me else "unheard"
            how = "suspected" if self._suspicion.is_suspect(post.key.key) else lapsed
        try:
            if not await post.key.take(view):
                post.not_before = self._now() + 0.05
                return
            lease = post.key.lease
            assert lease is not None
            _log.info(LogEvent.LEASE_GAINED, lease=post.key.key, epoch=lease.epoch, how=how)
            self._bus.counts.add(Metric.LEASES_GAINED, duty=self._duty, how=how)
            self._count_held()
            post.gain = self.spawn(self._gain(post, lease), f"gain:{post.key.key}")
        finally:
            post.taking = False
            self._wake.set()

    async def _gain(self, post: _Post, lease: Lease) -> None:
        try:
            await self.gained(post.number, lease, post.key.revision)
        except Exception:  # noqa: BLE001 - logged whole; another member may be able to do what this one cannot
            _log.exception(LogEvent.LEASE_START_FAILED, lease=post.key.key)
            post.gain = None
            post.not_before = self._now() + _AFTER_FAILED_START
            self._end(post, "failed", give_up=True)

    def _end(self, post: _Post, why: str, *, give_up: bool) -> None:
        """Begin to let go of a held lease: `lost` is awaited, then, with `give_up`, the key is deleted."""
        if post.taking:
            return  # its outcome comes first: what is still wanted then is decided anew
        if post.ending:
            if not give_up:
                _ = self.spawn(post.key.forget(), f"forget:{post.key.key}")
            return
        post.ending = True
        _ = self.spawn(self._let_go(post, why, give_up=give_up), f"end:{post.key.key}")

    async def _let_go(self, post: _Post, why: str, *, give_up: bool) -> None:
        epoch = post.key.lease.epoch if post.key.lease is not None else 0
        try:
            if not give_up:
                await post.key.forget()
            if post.gain is not None and not post.gain.done():
                post.gain.cancel()
                await asyncio.wait([post.gain])
            post.gain = None
            await self.lost(post.number)
            if give_up:
                await post.key.give_up(leaving=self._leaving)
            _log.info(LogEvent.LEASE_LOST, lease=post.key.key, epoch=epoch, why=why)
            self._bus.counts.add(Metric.LEASES_LOST, duty=self._duty, why=why)
            self._count_held()
        finally:
            post.ending = False
            self._wake.set()

    async def _renew(self) -> None:
        """Renew what is held every fifth of the TTL, each lease by itself: one slow answer delays no
        other."""
        while True:
            await asyncio.sleep(self._ttl / 5)
            for post in self._posts:
                if post.key.held and not post.renewing:
                    post.renewing = True
                    _ = self.spawn(self._renew_one(post), f"renew:{post.key.key}")

    async def _renew_one(self, post: _Post) -> None:
        try:
            still_held = await post.key.renew()
        finally:
            post.renewing = False
        if not still_held and post.key.held:
            self._end(post, "expired" if post.key.outlived else "taken", give_up=False)

    def _count_held(self) -> None:
        held = sum(post.key.held for post in self._posts)
        self._bus.counts.set(Metric.LEASES_HELD, held, duty=self._duty)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


class Leases(_LeaseHolder):
    """The leases of the shards, spread evenly over the schedulers.

    `on_gain(partition, lease, revision)` begins to lead; it may take its time, and is cancelled when the
    lease is lost meanwhile. `on_lose(partition)` ends it, and is awaited before the lease is handed over.
    `alive(partition)` tells whether the shard does its work: one that does not lets its lease lapse.
    `may_lead()` is asked all the time; while it is false (the clock is off) nothing is held.
    """

    def __init__(
        self,
        bus: NatsBus,
        member_id: str,
        partitions: int,
        ttl: float,
        *,
        members: MemberWatch,
        on_gain: Callable[[int, Lease, int], Awaitable[None]],
        on_lose: Callable[[int], Awaitable[None]],
        alive: Callable[[int], bool] = lambda _: True,
        may_lead: Callable[[], bool] = lambda: True,
    ) -> None:
        names = [(shard_key(partition), str(partition)) for partition in range(partitions)]
        super().__init__(bus, member_id, names, ttl, name="leases", alive=alive, may_lead=may_lead)
        self._members = members
        self._on_gain = on_gain
        self._on_lose = on_lose
        self._let_lapse: dict[str, int] = {}
        self._left_out: dict[str, float] = {}
        members.listen(self._wake.set)

    def held(self) -> dict[int, Lease]:
        """The leases that this process holds, by partition."""
        return {post.number: post.key.lease for post in self._posts if post.key.lease is not None}

    async def raise_epoch(self, partition: int, epoch: int) -> bool:
        """Correct the epoch of a held lease upwards; whether the lease is still held."""
        return await self._posts[partition].key.raise_epoch(epoch)

    @override
    async def gained(self, number: int, lease: Lease, revision: int) -> None:
        """See the base class."""
        await self._on_gain(number, lease, revision)

    @override
    async def lost(self, number: int) -> None:
        """See the base class."""
        await self._on_lose(number)

    @override
    def decide(self, free: set[int], now: float) -> tuple[set[int], set[int]]:
        """Even and sticky; see `lease_spread`."""
        owners = {
            post.number: owner for post in self._posts if (owner := self.owner_of(post.number)) is not None
        }
        candidates = self._candidates(free, now)
        plan = spread(len(self._posts), owners, candidates, self._me)
        take, room = set(plan.take), plan.may_take - len(plan.take)
        for number in sorted(free - take):
            waited = now - (self._posts[number].free_since or now)
            if waited > _ANYBODY or (waited > _ANYBODY_WITH_ROOM and room > 0):
                room -= 1
                take.add(number)
                self._leave_out_idle(owners, candidates, now)
        return take, set(plan.release)

    def _candidates(self, free: set[int], now: float) -> set[str]:
        """Schedulers that take part: live, not draining, and not known to have let their leases lapse."""
        for number in free:
            view = self._watch.views.get(self._posts[number].key.key)
            if view is None:
                continue
            silent = view.lease.owner if view.lease is not None else view.last_owner if view.expired else None
            if silent is not None and silent != self._me and silent not in self._let_lapse:
                self._let_lapse[silent] = self._members.renewed_ms(silent)
        for member_id, renewed in [*self._let_lapse.items()]:
            if self._members.renewed_ms(member_id) > renewed:
                del self._let_lapse[member_id]
        live = {
            member.id
            for member in self._members.of_kind("scheduler")
            if not member.draining and not self._fell_silent(member.id)
        }
        left_out = {member_id for member_id, until in self._left_out.items() if now < until}
        return (live - self._watch.leaving - self._let_lapse.keys() - left_out) | {self._me}

    def _fell_silent(self, member_id: str) -> bool:
        """Whether a listed member does not announce itself any more, though others do.

        Whoever was there saw its leases lapse; a scheduler that came later did not, and without this would keep
        a share free for it until its entry expires.
        """
        since = self._bus.connected_since
        if self._bus.generation > 0 and (since is None or time.monotonic() - since < _BEHIND_SECONDS):
            return False  # after an outage the others' announcements are on their way
        return self._members.behind_ms(member_id) > _BEHIND_SECONDS * 1000

    def _leave_out_idle(self, owners: dict[int, str], candidates: set[str], now: float) -> None:
        """Leave the poorest of the others out for a while: what fell to it stayed where it was."""
        others = sorted(candidates - {self._me})
        if others:
            idle = min(others, key=lambda member: sum(owner == member for owner in owners.values()))
            self._left_out[idle] = now + _NOT_COUNTED_ON


class SingletonLease(_LeaseHolder):
    """A duty of which there is one: whoever takes its lease first does it until it stops or falls silent."""

    def __init__(
        self,
        bus: NatsBus,
        member_id: str,
        key: str,
        ttl: float,
        *,
        on_gain: Callable[[], Awaitable[None]],
        on_lose: Callable[[], Awaitable[None]],
        may_lead: Callable[[], bool] = lambda: True,
    ) -> None:
        """`key`: the duty, such as `projector`."""
        super().__init__(
            bus, member_id, [(key, key)], ttl, name=f"lease:{key}", alive=lambda _: True, may_lead=may_lead
        )
        self.held = asyncio.Event()
        """Set while the lease is held."""
        self._on_gain = on_gain
        self._on_lose = on_lose

    @override
    async def gained(self, number: int, lease: Lease, revision: int) -> None:
        """See the base class."""
        self.held.set()
        await self._on_gain()

    @override
    async def lost(self, number: int) -> None:
        """See the base class."""
        self.held.clear()
        await self._on_lose()

    @override
    def decide(self, free: set[int], now: float) -> tuple[set[int], set[int]]:
        """Take it whenever it is free."""
        return free, set()
