"""A budget: what every shard may use of one user's credits and limits. Pure; ADR 0020 is the argument.

Where a user has used more than was given, by what handlers reported beyond the price, grants say so: no execution is
let go, whatever it costs, until the balance is not below zero any more.

What is in the register (`Budget.register`) must be stored before `Budget.answers` are sent. What waits is not in it:
shards say so again every second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from gnomon_scheduler.budget_registers import DAY_MS, BudgetRegister, Share
from gnomon_schemas.budgets import BudgetGrant, BudgetStatement, Shortage

__all__ = ["ASK_EVERY_MS", "PATIENCE_MS", "Budget", "Standing"]

ASK_EVERY_MS = 1000
"""How often those who may hold something idle are told that another shard lacks it."""
PATIENCE_MS = 1000
"""So long a shard that lacks something waits for what others hold idle, before it is refused."""
_FRESH_MS = 10_000
"""A shard that has not repeated for so long that it wants something does not want it any more."""


class Standing(NamedTuple):
    """What the account says of its user."""

    credited: int
    """Micros given so far, ever."""
    units: int | None = None
    """Executions that may be in flight; None: any number."""
    starts: int | None = None
    """Executions that may start in a day; None: any number."""
    barred: bool = False
    """Nothing may run: the account is closed, or there is none and has to be, or none can tell what was spent."""
    opened: bool = True
    """Whether there is an account, so that `credited` is known."""


@dataclass(slots=True)
class _Wish:
    """What a shard lacks, by its newest statement."""

    since_ms: int
    """Since when it has lacked something."""
    heard_ms: int
    micros: int
    units: int
    starts: int
    ahead: int
    ahead_micros: int
    told_busy: bool = False


@dataclass(slots=True)
class _Free:
    """What is left to be given; None: any number."""

    micros: int
    units: int | None
    starts: int | None


class Budget:
    """One user's budget in the memory of the shard that leads it."""

    def __init__(self, reg: BudgetRegister, partitions: int) -> None:
        self._reg, self._partitions = reg, partitions
        self._shares = {share.shard: share for share in reg.shares}
        self._wishes: dict[int, _Wish] = {}
        self._tight: set[int] = set()
        """Shards that were heard to hold nothing idle, and were given nothing since."""
        self._shortages: dict[int, Shortage] = {}
        """What is to be told of what could not be given."""
        self._to_tell: set[int] = set()
        self._told_ms = 0
        self._standing = Standing(0)
        self._told_overdrawn = False
        """Whether grants of late have said that the user is."""
        self.changed = False
        """The register as stored lacks something."""

    @property
    def account(self) -> str:
        """Id of the account."""
        return self._reg.account

    def register(self) -> BudgetRegister:
        """All of it, to be stored."""
        shares = tuple(share for _, share in sorted(self._shares.items()))
        return msgspec.structs.replace(self._reg, shares=shares)

    @property
    def used(self) -> int:
        """Micros consumed, as far as shards have told."""
        return sum(share.used for share in self._shares.values())

    @property
    def promised(self) -> int:
        """Micros that shards have used or may use."""
        return sum(share.spend for share in self._shares.values())

    @property
    def _overdrawn(self) -> bool:
        return self._standing.opened and self.used > self._standing.credited

    # -- hearing -----------------------------------------------------------------------------------

    def hear(self, shard: int, epoch: int, said: BudgetStatement, now_ms: int) -> None:
        """Take a statement. One that is not above the newest of its shard changes nothing, and is answered again."""
        before = self._shares.get(shard)
        if before is not None and (epoch, said.n) <= (before.epoch, before.n):
            if (epoch, said.n) == (before.epoch, before.n):
                self._to_tell.add(shard)
            return
        self._shares[shard] = Share(
            shard, epoch, said.n, said.used, said.spend, said.units, said.using, said.day, said.starts
        )
        if said.idle:
            self._tight.discard(shard)
        else:
            self._tight.add(shard)
        self._shortages.pop(shard, None)
        self._note_wish(shard, said, now_ms)
        self._to_tell.add(shard)
        self.changed = True

    def _note_wish(self, shard: int, said: BudgetStatement, now_ms: int) -> None:
        if not (said.units_wanted or said.starts_wanted or said.micros_wanted or said.ahead):
            self._wishes.pop(shard, None)
            return
        before = self._wishes.get(shard)
        self._wishes[shard] = _Wish(
            since_ms=before.since_ms if before is not None else now_ms,
            heard_ms=now_ms,
            micros=said.micros_wanted,
            units=said.units_wanted,
            starts=said.starts_wanted,
            ahead=said.ahead,
            ahead_micros=said.ahead_micros,
            told_busy=before is not None and before.told_busy,
        )

    # -- giving ------------------------------------------------------------------------------------

    def give(self, standing: Standing, now_ms: int) -> None:
        """Give what is free to those that lack it, in the order in which they asked, and see who is to be told."""
        self._standing = standing
        if self._overdrawn != self._told_overdrawn:
            self._told_overdrawn = self._overdrawn
            self._to_tell |= self._shares.keys()
        for shard in [s for s, wish in self._wishes.items() if now_ms - wish.heard_ms > _FRESH_MS]:
            del self._wishes[shard]
        free = self._free(now_ms // DAY_MS)
        for shard, wish in sorted(self._wishes.items(), key=lambda each: (each[1].since_ms, each[0])):
            self._give_to(shard, wish, free, now_ms)
        if self._wishes and now_ms - self._told_ms >= ASK_EVERY_MS:
            self._told_ms = now_ms
            self._to_tell |= self._may_be_idle(None)

    def _free(self, today: int) -> _Free:
        standing, shares = self._standing, self._shares.values()
        if standing.barred:
            return _Free(0, 0, 0)
        units, starts = standing.units, standing.starts
        return _Free(
            max(0, standing.credited - self.promised),
            None if units is None else max(0, units - sum(share.units for share in shares)),
            # What a shard counts for a day that is over tells only what is in flight there at the most.
            None
            if starts is None
            else max(
                0, starts - sum(share.starts if share.day >= today else share.using for share in shares)
            ),
        )

    def _give_to(self, shard: int, wish: _Wish, free: _Free, now_ms: int) -> None:
        current = self._shares[shard].day >= now_ms // DAY_MS
        self._raise(
            shard,
            free,
            micros=min(wish.micros, free.micros),
            units=None if free.units is None else min(wish.units, free.units),
            # A shard whose day is over is about to state for the new one.
            starts=None if free.starts is None else min(wish.starts, free.starts) if current else 0,
            wish=wish,
        )
        shortage = self._shortage(wish, free)
        if shortage is None:
            part = 2 * self._partitions
            self._raise(
                shard,
                free,
                micros=min(wish.ahead_micros, free.micros // part),
                units=None if free.units is None else min(wish.ahead, free.units // part),
                starts=None if free.starts is None else min(wish.ahead, free.starts // part),
                wish=wish,
            )
            del self._wishes[shard]
        elif not current and shortage == "limit" and not self._standing.barred:
            return
        elif shortage == "busy":
            if not wish.told_busy and not self._worth_waiting(shard, wish, now_ms):
                wish.told_busy = True
                self._tell(shard, shortage)
        elif not self._worth_waiting(shard, wish, now_ms):
            self._tell(shard, shortage)
            del self._wishes[shard]

    def _raise(
        self, shard: int, free: _Free, *, micros: int, units: int | None, starts: int | None, wish: _Wish
    ) -> None:
        """Raise the caps of a shard, and take that off what is free and what is wished."""
        if not (micros or units or starts):
            return
        share = self._shares[shard]
        free.micros -= micros
        wish.micros = max(0, wish.micros - micros)
        if units is not None and free.units is not None:
            free.units -= units
            wish.units = max(0, wish.units - units)
        if starts is not None and free.starts is not None:
            free.starts -= starts
            wish.starts = max(0, wish.starts - starts)
        self._shares[shard] = msgspec.structs.replace(
            share,
            spend=share.spend + micros,
            units=share.units + (units or 0),
            starts=share.starts + (starts or 0),
            using=share.using + max(units or 0, starts or 0),
        )
        self._tight.discard(shard)
        self._to_tell.add(shard)
        self.changed = True

    def _shortage(self, wish: _Wish, free: _Free) -> Shortage | None:
        if self._standing.barred:
            return "limit"
        if wish.micros or self._overdrawn:
            return "credits"
        if free.starts is not None and wish.starts:
            return "limit"
        if free.units is not None and wish.units:
            return "busy"
        return None

    def _worth_waiting(self, shard: int, wish: _Wish, now_ms: int) -> bool:
        """Whether others may give back what this one lacks."""
        if self._standing.barred or self._overdrawn or now_ms - wish.since_ms >= PATIENCE_MS:
            return False
        return bool(self._may_be_idle(shard))

    def _may_be_idle(self, but: int | None) -> set[int]:
        """Shards that may hold something they do not use."""
        return {
            shard
            for shard, share in self._shares.items()
            if shard != but
            and shard not in self._tight
            and (share.spend > share.used or share.units or share.starts)
        }

    def _tell(self, shard: int, shortage: Shortage) -> None:
        self._shortages[shard] = shortage
        self._to_tell.add(shard)

    # -- telling -----------------------------------------------------------------------------------

    def answers(self) -> list[tuple[int, BudgetGrant]]:
        """What to tell whom, once the register is stored."""
        found = []
        for shard in sorted(self._to_tell):
            share = self._shares[shard]
            found.append(
                (
                    shard,
                    BudgetGrant(
                        account=self._reg.account,
                        user=self._reg.user,
                        epoch=share.epoch,
                        n=share.n,
                        spend=share.spend,
                        units=None if self._standing.units is None else share.units,
                        day=share.day,
                        starts=None if self._standing.starts is None else share.starts,
                        shortage=self._shortages.get(shard),
                        contended=bool(self._wishes.keys() - {shard}),
                        overdrawn=self._overdrawn,
                    ),
                )
            )
        self._to_tell.clear()
        return found

    def next_ms(self, now_ms: int) -> int | None:
        """When it is to be looked at again if nobody says anything; None: never."""
        if not self._wishes:
            return None
        at_ms = self._told_ms + ASK_EVERY_MS
        ends = [
            wish.since_ms + PATIENCE_MS
            for wish in self._wishes.values()
            if not wish.told_busy and wish.since_ms + PATIENCE_MS > now_ms
        ]
        return max(now_ms + 1, min([at_ms, *ends]))
