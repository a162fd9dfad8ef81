"""A gate: who holds how many units, and who gets those that are free. Pure; ADR 0016 is the argument.

What is in the register (`Gate.register`) must be stored before `Gate.answers` are sent. What waits is not in it: shards
say so again every second.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from gnomon_scheduler.gate_registers import GateRegister, Holding
from gnomon_schemas.gates import Grant, Statement, Waiter
from gnomon_schemas.tasks import RateLimit

__all__ = ["AGING_STRIDE", "ASK_EVERY_MS", "Gate", "strictest"]

ASK_EVERY_MS = 1000
"""How often those that hold units are told that others wait."""
AGING_STRIDE = 4
"""Every so many units one goes to whoever has waited longest, whatever its priority and its user."""
_FRESH_MS = 10 * ASK_EVERY_MS
"""A shard that has not repeated for so long that it wants units does not want them any more."""


def strictest(rates: Iterable[RateLimit | None]) -> RateLimit | None:
    """The rate that keeps all of these: the least count in the longest span."""
    given = [rate for rate in rates if rate is not None]
    if not given:
        return None
    return RateLimit(
        count=min(rate.count for rate in given), per_seconds=max(rate.per_seconds for rate in given)
    )


@dataclass(slots=True)
class _Wish:
    """What a shard waits for, by its newest statement."""

    wanting: int
    first: tuple[Waiter, ...]
    oldest_ms: int
    heard_ms: int
    given: int = 0

    @property
    def left(self) -> int:
        return self.wanting - self.given

    def next(self) -> tuple[int, int, int]:
        """Rank, load and age of the one that the next unit would be for."""
        if not self.first:
            return (0, 0, self.oldest_ms)
        waiter = self.first[min(self.given, len(self.first) - 1)]
        further = max(0, self.given - len(self.first) + 1)
        return (waiter.rank, waiter.load + further, waiter.since_ms)


class Gate:
    """One gate in the memory of the shard that leads it."""

    def __init__(self, reg: GateRegister, partitions: int) -> None:
        self._reg, self._partitions = reg, partitions
        self._holdings = {holding.shard: holding for holding in reg.holdings}
        self._wishes: dict[int, _Wish] = {}
        self._starts = list(reg.starts)
        self._to_tell: set[int] = set()
        self._told_ms = 0
        self._given = 0
        self.changed = False
        """The register as stored lacks something."""

    @property
    def settings(self) -> GateRegister:
        """Its register without what is held; `register` has all of it."""
        return self._reg

    def set(self, reg: GateRegister) -> None:
        """Give a pool other settings. Where it has no limit any more, nobody holds anything."""
        opens = reg.limited and not self._reg.limited
        self._reg = msgspec.structs.replace(reg, opened=reg.version if opens else reg.opened)
        if not reg.limited:
            self._reg = msgspec.structs.replace(self._reg, opened=0)
            self._holdings.clear()
            self._wishes.clear()
        self._told_ms = 0
        self.changed = True

    def register(self) -> GateRegister:
        """All of it, to be stored."""
        return msgspec.structs.replace(
            self._reg,
            holdings=tuple(holding for _, holding in sorted(self._holdings.items())),
            starts=tuple(self._starts),
        )

    @property
    def idle(self) -> bool:
        """Whether nobody uses or wants anything, and no start counts any more."""
        return not self._starts and not self._wishes and not any(h.held for h in self._holdings.values())

    @property
    def held(self) -> int:
        """Units that are held by all shards together."""
        return sum(holding.held for holding in self._holdings.values())

    # -- hearing -----------------------------------------------------------------------------------

    def hear(self, shard: int, epoch: int, said: Statement, now_ms: int) -> None:
        """Take a statement. One that is not above the newest of its shard changes nothing, and is answered again."""
        if self._reg.kind == "pool" and (not self._reg.limited or said.version < self._reg.opened):
            return
        before = self._holdings.get(shard)
        if before is not None and (epoch, said.n) <= (before.epoch, before.n):
            if (epoch, said.n) == (before.epoch, before.n):
                self._to_tell.add(shard)
            return
        self._count_starts(before, epoch, said, now_ms)
        self._holdings[shard] = Holding(
            shard,
            epoch,
            said.n,
            said.using,
            said.using - said.unstarted,
            said.starts,
            said.version,
            said.limit,
            said.rate,
        )
        if said.wanting:
            self._wishes[shard] = _Wish(said.wanting, said.first, said.oldest_ms, now_ms)
        else:
            self._wishes.pop(shard, None)
        self._to_tell.add(shard)
        self.changed = True

    def _count_starts(self, before: Holding | None, epoch: int, said: Statement, now_ms: int) -> None:
        """Note when attempts started. Those of an older epoch that nobody can tell any more count as started now."""
        if said.rate is None and (before is None or before.rate is None):
            return
        counted = 0
        if before is not None and before.epoch == epoch:
            counted = before.starts
        elif before is not None:
            untold = (before.held - before.begun) - said.unstarted - said.starts
            self._starts += [now_ms] * max(0, untold)
        new = said.starts - counted
        if new > 0:
            told = said.started[-new:]
            # By the executors' clocks: one that is ahead must not keep the key shut until its time has come.
            self._starts += [min(at_ms, now_ms) for at_ms in told]
            self._starts += [now_ms] * (new - len(told))
        self._starts.sort()

    # -- giving ------------------------------------------------------------------------------------

    @property
    def limit(self) -> int | None:
        """How many units there are; None: any number."""
        if self._reg.kind == "pool":
            return 0 if self._reg.paused else self._reg.max_in_flight
        limits = [h.limit for h in self._concerned() if h.limit is not None]
        return min(limits, default=None)

    @property
    def rate(self) -> RateLimit | None:
        """The rate of starts that is kept; None: any."""
        return strictest(h.rate for h in self._concerned())

    def _concerned(self) -> list[Holding]:
        return [h for shard, h in self._holdings.items() if h.held or shard in self._wishes]

    @property
    def unknown(self) -> list[int]:
        """Of a pool that was opened: the shards that have not stated since. Nothing is given until all have."""
        if self._reg.kind != "pool" or not self._reg.limited:
            return []
        opened, holdings = self._reg.opened, self._holdings
        return [
            shard
            for shard in range(self._partitions)
            if shard not in holdings or holdings[shard].version < opened
        ]

    def _free(self, now_ms: int) -> int | None:
        """Units to give; None: any number."""
        if self.unknown:
            return 0
        limit, rate = self.limit, self.rate
        free = None if limit is None else max(0, limit - self.held)
        self._forget_starts(rate, now_ms)
        if rate is not None:
            pending = sum(h.held - h.begun for h in self._holdings.values())
            starts = max(0, rate.count - len(self._starts) - pending)
            free = starts if free is None else min(free, starts)
        return free

    def _forget_starts(self, rate: RateLimit | None, now_ms: int) -> None:
        """Let go of the starts that lie outside the span."""
        if not self._starts:
            return
        # While nobody uses the key, what those who last did have said still tells the span.
        rate = rate or strictest(h.rate for h in self._holdings.values())
        from_ms = now_ms if rate is None else now_ms - rate.per_seconds * 1000
        kept = [at_ms for at_ms in self._starts if at_ms > from_ms]
        if len(kept) < len(self._starts):
            self._starts = kept
            self.changed = True

    def give(self, now_ms: int) -> None:
        """Give what is free to those that wait, and see who is to be told."""
        for shard in [s for s, wish in self._wishes.items() if now_ms - wish.heard_ms > _FRESH_MS]:
            del self._wishes[shard]
        free: int | None = self._free(now_ms)
        while free is None or free > 0:
            chosen = self._whose_turn()
            if chosen is None:
                break
            self._wishes[chosen].given += 1
            self._given += 1
            holding = self._holdings[chosen]
            self._holdings[chosen] = msgspec.structs.replace(holding, held=holding.held + 1)
            self._to_tell.add(chosen)
            self.changed = True
            if free is not None:
                free -= 1
        if (self._pressed or self.unknown) and now_ms - self._told_ms >= ASK_EVERY_MS:
            self._told_ms = now_ms
            self._to_tell |= {shard for shard, h in self._holdings.items() if h.held}
            self._to_tell.update(self.unknown)
        for shard in [s for s, wish in self._wishes.items() if wish.left <= 0]:
            del self._wishes[shard]

    def _whose_turn(self) -> int | None:
        waiting = [(shard, wish) for shard, wish in self._wishes.items() if wish.left > 0]
        if not waiting:
            return None
        if self._given % AGING_STRIDE == AGING_STRIDE - 1:
            return min(waiting, key=lambda each: (each[1].oldest_ms, each[0]))[0]
        return min(waiting, key=lambda each: (*each[1].next(), each[0]))[0]

    @property
    def _pressed(self) -> bool:
        """Whether somebody waits, or more is held than may be."""
        limit = self.limit
        return any(wish.left > 0 for wish in self._wishes.values()) or (
            limit is not None and self.held > limit
        )

    # -- telling -----------------------------------------------------------------------------------

    def answers(self) -> list[tuple[int, Grant]]:
        """What to tell whom, once the register is stored."""
        limit, pressed = self.limit, self._pressed
        full = limit is not None and self.held >= limit
        found = []
        for shard in sorted(self._to_tell):
            holding = self._holdings.get(shard) or Holding(shard, 0, 0)
            wish = self._wishes.get(shard)
            grant = Grant(
                gate=self._reg.gate,
                kind=self._reg.kind,
                epoch=holding.epoch,
                n=holding.n,
                units=holding.held,
                contended=pressed,
                busy=full and wish is not None and wish.left > 0,
            )
            found.append((shard, grant))
        self._to_tell.clear()
        return found

    def next_ms(self, now_ms: int) -> int | None:
        """When it is to be looked at again if nobody says anything; None: never."""
        if not (self._pressed or self.unknown):
            return None
        at_ms = self._told_ms + ASK_EVERY_MS
        rate = self.rate
        if rate is not None and self._starts and any(wish.left > 0 for wish in self._wishes.values()):
            at_ms = min(at_ms, int(self._starts[0] + rate.per_seconds * 1000) + 1)
        return max(at_ms, now_ms + 1)
