"""What one shard may use of one gate: the shard's side of the protocol of ADR 0016. Pure.

`take` and `release` count what is handed out; `state` makes the next statement, by which everything that is not in use
is given back; `hear` takes what the gate grants.
"""

from __future__ import annotations

from gnomon_schemas.gates import GateKind, Grant, Statement, Waiter
from gnomon_schemas.tasks import RateLimit

__all__ = ["GIVE_BACK_MS", "REPEAT_MS", "Leave"]

REPEAT_MS = 1000
"""A statement that has no answer, or whose wish was not met, is made anew after so long."""
GIVE_BACK_MS = 100
"""So long may units of a pool lie unused while nobody waits for them, to be used again without asking."""


class Leave:
    """Counts of one shard, under one epoch, at one gate."""

    def __init__(self, gate: str, kind: GateKind) -> None:
        self.gate, self.kind = gate, kind
        self.used = 0
        """Units of attempts that were handed out and have not ended, as far as is known."""
        self.unstarted = 0
        self.allowed = 0
        """Units that may be used under the newest statement; more than `used` only by a grant."""
        self.held = 0
        """Units that the gate keeps for this shard at the least."""
        self.contended = True
        """Whether others wait, by the newest grant. Until one is heard it is taken to be so."""
        self.n = 0
        """Number of the newest statement; 0: none was made."""
        self.answered = True
        self.limit: int | None = None
        self.rate: RateLimit | None = None
        self._unmet = 0
        """How many units the gate knows to be wanted and has not given."""
        self._stated_ms = 0
        self._asked = False
        self._starts = 0
        self._started: list[int] = []
        """Starts that the gate may not know of."""
        self._in_statement = 0
        """How many of these the newest statement told."""

    @property
    def room(self) -> int:
        """How many units may be taken."""
        return max(0, self.allowed - self.used)

    def take(self, *, started: bool = False) -> None:
        """An attempt is handed out, or was by a predecessor."""
        self.used += 1
        self.unstarted += not started

    def started(self, at_ms: int) -> None:
        """An attempt of those in use has started."""
        self.unstarted -= 1
        if self.rate is not None:
            self._starts += 1
            self._started.append(at_ms)

    def release(self, *, started: bool) -> None:
        """An attempt has ended, or was never handed out after all.

        Where others wait its unit is not used again. Nor is it under a rate, once the attempt has started: a unit is
        leave for one start there.
        """
        self.used -= 1
        self.unstarted -= not started
        if self.contended or (self.rate is not None and started):
            self.allowed = max(self.used, self.allowed - 1)

    def ask(self) -> None:
        """The gate is to hear how things stand."""
        self._asked = True

    # -- the protocol ------------------------------------------------------------------------------

    def hear(self, epoch: int, grant: Grant) -> None:
        """Take a grant, which counts only for the newest statement of the shard's own epoch.

        Any other makes the shard state afresh: the gate may hold something for a predecessor, or for a statement that
        was lost.
        """
        if (grant.epoch, grant.n) != (epoch, self.n) or not self.n:
            self._asked = self._asked or self.answered
            return
        gained = max(0, grant.units - self.held)
        self._unmet = max(0, self._unmet - gained)
        self.held += gained
        self.allowed += gained
        self.contended = grant.contended
        if not self.answered:
            self.answered = True
            del self._started[: self._in_statement]

    def next_ms(self, wanting: int) -> int | None:
        """When a statement is due, given how many could use a unit; None: there is nothing to say."""
        if not self.answered:
            return self._stated_ms + REPEAT_MS
        if self._asked or self._started:
            return 0
        lacking = wanting - self.room
        if self.held > self.used + min(wanting, self.room):
            # Also where this shard waits for more itself: the gate can give only what it is told of.
            return 0 if self.contended or self.kind == "key" else self._stated_ms + GIVE_BACK_MS
        if lacking > 0:
            return 0 if lacking > self._unmet else self._stated_ms + REPEAT_MS
        return None

    def state(
        self,
        n: int,
        now_ms: int,
        *,
        wanting: int = 0,
        first: tuple[Waiter, ...] = (),
        oldest_ms: int = 0,
        version: int = 0,
    ) -> Statement:
        """The next statement. From here on no more is used than is in use, until the grant for this `n` comes."""
        self.n, self.answered, self._asked = n, False, False
        self.allowed = self.held = self.used
        self._stated_ms, self._unmet, self._in_statement = now_ms, wanting, len(self._started)
        return Statement(
            gate=self.gate,
            kind=self.kind,
            n=n,
            using=self.used,
            wanting=wanting,
            first=first,
            oldest_ms=oldest_ms,
            version=version,
            limit=self.limit,
            rate=self.rate,
            unstarted=self.unstarted,
            starts=self._starts,
            started=tuple(self._started),
        )

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to say: nothing in use, and the gate knows."""
        return self.used == 0 and self.held == 0 and self.answered and not self._asked and not self._started
