"""A purse: what one shard may use of one user's credits and limits. The shard's side of ADR 0020. Pure.

`take` and `release` count what executions hold, `fold` what they have used; `state` makes the next statement, and
`hear` takes what the account's shard grants.
"""

from __future__ import annotations

from gnomon_schemas.budgets import BudgetGrant, BudgetStatement, Shortage

__all__ = ["AHEAD", "GIVE_BACK_MS", "REFUSE_MS", "REPEAT_MS", "SETTLE_MS", "Purse"]

REPEAT_MS = 1000
"""A statement that has no answer, or whose wish was not met, is made anew after so long."""
SETTLE_MS = 1000
"""So long after the last statement it is told what was used since."""
GIVE_BACK_MS = 10_000
"""So long may leave lie unused before it is given back unasked."""
REFUSE_MS = 5000
"""So long after a refusal the shard refuses by itself, unless the account changes."""
AHEAD = 16
"""Executions for which leave is asked in advance, at the least."""
_HASTE_MS = 50
"""The least time between two statements that only ask for more in advance, or tell of more than was granted."""


class Purse:
    """Counts of one shard, under one epoch, for one user. Amounts are micros, days UTC since 1970."""

    def __init__(
        self, account: str, user: str, *, used: int = 0, told: int = 0, day: int = 0, runs: int = 0
    ) -> None:
        self.account, self.user = account, user
        self.used, self.day, self.runs = used, day, runs
        self.held = 0
        """The prices of the executions that were let go and have not ended."""
        self.using = 0
        """How many these are."""
        self.spend = used
        """What is used and held stays below this."""
        self.units: int | None = 0
        """So many executions may be in flight; None: any number. Nothing is known before the first grant."""
        self.starts: int | None = runs
        """So many executions of the day there may be; None: any number."""
        self.n = 0
        """Number of the newest statement; 0: none was made."""
        self.answered = True
        self.contended = False
        self.overdrawn = False
        """Whether the user has used more than was given: nothing is let go then, whatever it costs."""
        self.shortage: Shortage | None = None
        """Why the newest statement was not given all that it wanted, where that is so."""
        self.told = told
        """What the account's shard is known to know of `used`."""
        self._stated_used, self._stated_runs = told, runs
        self._stated_ms = 0
        self._wanted = 0
        self._asked = False
        self._takes = 0
        """Executions let go since the newest statement."""
        self._price = 0
        """The dearest of those that were let go lately."""
        self._dry: tuple[Shortage, int, int] | None = None
        """Why, for which least price and until when the shard refuses by itself."""

    # -- using -------------------------------------------------------------------------------------

    def fits(self, price: int) -> bool:
        """Whether an execution may be let go."""
        return self._fit(1, price)

    def _fit(self, count: int, price: int) -> bool:
        return (
            not self.overdrawn
            and (price == 0 or self.used + self.held + price <= self.spend)
            and (self.units is None or self.using + count <= self.units)
            and (self.starts is None or self.runs + self.using + count <= self.starts)
        )

    @property
    def crowded(self) -> bool:
        """Whether there are executions in flight, and as many as may be."""
        return self.units is not None and 0 < self.using >= self.units

    def take(self, price: int) -> None:
        """An execution is let go, or was by a predecessor."""
        self.held += price
        self.using += 1
        self._takes += 1
        self._price = max(self._price, price)

    def release(self, price: int) -> None:
        """It has ended, or was not handed out after all. Where another shard waits for a unit it is not used again."""
        self.held -= price
        self.using -= 1
        if self.contended and self.units is not None:
            self.units = max(self.using, self.units - 1)
            self._asked = True

    def fold(self, used: int, day: int, runs: int) -> None:
        """What was used in all, and the runs of a day, are this much now."""
        self.used = used
        if day == self.day:
            self.runs = runs
        elif day > self.day:
            self._turn(day, runs)

    def begin_day(self, day: int) -> None:
        """Another day may have begun: of that one no run has ended, and the caps of the one before do not count."""
        if day > self.day:
            self._turn(day, 0)

    def _turn(self, day: int, runs: int) -> None:
        self.day, self.runs = day, runs
        if self.starts is not None:
            self.starts = 0
        if self._dry is not None and self._dry[0] == "limit":
            self._dry = None

    # -- refusals ----------------------------------------------------------------------------------

    def dry(self, price: int, now_ms: int) -> Shortage | None:
        """Why an execution at this price is refused without asking; None: it is not."""
        if self._dry is None:
            return None
        why, least, until_ms = self._dry
        if now_ms >= until_ms:
            self._dry = None
            return None
        return why if price >= least else None

    def dry_until_ms(self, now_ms: int) -> int | None:
        """Until when the shard refuses by itself, whatever the price; None: it does not."""
        return self._dry[2] if self._dry is not None and self._dry[2] > now_ms else None

    def run_dry(self, why: Shortage, price: int, now_ms: int) -> None:
        """An execution at this price was refused."""
        if self._dry is not None and self._dry[0] == why:
            price = min(price, self._dry[1])
        self._dry = (why, price, now_ms + REFUSE_MS)

    def ask_again(self) -> None:
        """The account has changed: what was refused may be given now."""
        self._dry = None
        self._asked = True

    # -- the protocol ------------------------------------------------------------------------------

    def ask(self) -> None:
        """The account's shard is to hear how things stand."""
        self._asked = True

    @property
    def idle(self) -> bool:
        """Whether some cap is above what is used and held."""
        return (
            self.spend > self.used + self.held
            or (self.units is not None and self.units > self.using)
            or (self.starts is not None and self.starts > self.runs + self.using)
        )

    def over(self, now_ms: int) -> bool:
        """Whether there is nothing left to say: nothing held, nothing idle, and all that was used is known."""
        return (
            self.using == 0
            and self.answered
            and not self._asked
            and not self.idle
            and (self._dry is None or self._dry[2] <= now_ms)
            and self.told == self.used
        )

    def hear(self, epoch: int, grant: BudgetGrant) -> bool:
        """Take a grant; whether it counts, as only one for the newest statement of the shard's own epoch does.

        Any other makes the shard state afresh: the account's shard may keep caps of a predecessor, or lacks a statement
        that was lost.
        """
        if (grant.epoch, grant.n) != (epoch, self.n) or not self.n:
            self._asked = self._asked or self.answered
            return False
        self.spend = max(self.spend, grant.spend)
        self.units = grant.units
        if grant.starts is None or grant.day == self.day:
            self.starts = grant.starts
        else:
            self._asked = True
        self.contended, self.overdrawn, self.shortage = grant.contended, grant.overdrawn, grant.shortage
        self.answered = True
        self.told = self._stated_used
        return True

    def next_ms(self, wanting: int) -> int | None:
        """When a statement is due, given how many executions wait; None: there is nothing to say."""
        if not self.answered:
            return self._stated_ms + REPEAT_MS
        if self._asked or wanting > self._wanted or (self.contended and self.idle):
            return 0
        if self.shortage == "busy" and not wanting:
            return 0
        if wanting:
            return self._stated_ms + REPEAT_MS
        if self._takes >= AHEAD // 2 and not self._fit(AHEAD // 2, AHEAD // 2 * self._price):
            return self._stated_ms + _HASTE_MS
        if self.used > self.spend:
            return self._stated_ms + _HASTE_MS  # by what handlers reported: there may be nothing left
        if self.used != self._stated_used or self.runs != self._stated_runs:
            return self._stated_ms + SETTLE_MS
        if self.idle:
            return self._stated_ms + GIVE_BACK_MS
        return None

    def state(self, n: int, now_ms: int, *, wanting: int = 0, wanting_micros: int = 0) -> BudgetStatement:
        """The next statement. What lies idle is given back where others lack it, or it has done so for long."""
        since_ms = now_ms - self._stated_ms
        unused = not (wanting or self._takes or self.used != self._stated_used) and since_ms >= GIVE_BACK_MS
        if self.contended or unused or not self.n:
            self.spend = self.used + self.held
            self.units = None if self.units is None else self.using
            self.starts = None if self.starts is None else self.runs + self.using
        spend = self.spend = max(self.spend, self.used + self.held)
        ahead = 0 if self.contended or not (wanting or self._takes) else max(AHEAD, 2 * self._takes)
        price = max(self._price, -(-wanting_micros // wanting) if wanting else 0)
        statement = BudgetStatement(
            account=self.account,
            user=self.user,
            n=n,
            used=self.used,
            spend=spend,
            units=self.using if self.units is None else max(self.units, self.using),
            using=self._most_in_flight(),
            day=self.day,
            starts=self.runs + self.using
            if self.starts is None
            else max(self.starts, self.runs + self.using),
            idle=self.idle,
            units_wanted=wanting
            if self.units is None or self.overdrawn
            else max(0, wanting + self.using - self.units),
            starts_wanted=wanting
            if self.starts is None
            else max(0, wanting + self.runs + self.using - self.starts),
            micros_wanted=max(0, wanting_micros - (spend - self.used - self.held)),
            ahead=ahead,
            ahead_micros=max(0, ahead * price - max(0, spend - self.used - self.held - wanting_micros)),
        )
        self.n, self.answered, self._asked = n, False, False
        self.shortage = None
        self._stated_ms, self._wanted = now_ms, wanting
        self._stated_used, self._stated_runs = self.used, self.runs
        if not self._takes:
            self._price = 0
        self._takes = 0
        return statement

    def _most_in_flight(self) -> int:
        """How many executions there may be in flight before the next grant, as far as a limit tells."""
        if self.starts is not None:
            return max(self.using, self.starts - self.runs)
        return self.using if self.units is None else max(self.using, self.units)
