"""Which lane to ask for how much work: pure arithmetic, no I/O, no clock of its own.

Terms. A *lane* is one pool at one priority; each has a consumer of its own on the broker. A *slot* is room
for one execution. A *pull* asks the broker for up to so many messages of one lane; what it may still bring is
*outstanding*. The one invariant, from which "no hidden prefetch" follows:

    executions here + outstanding messages <= capacity

A message is never fetched without a slot waiting for it, so nothing is held back here that another executor
could run.

Two kinds of pull, both ended by the broker as soon as it has delivered what there was:

* a *poll* asks an idle lane for one message and lingers on the broker, so that work starts the moment it is
  due;
* a *grab* asks a lane that is known to have work waiting for as much of it as there are slots.

How much waits is known for free: each delivery says how many more of its lane there are.

Order. Urgent goes first. So that the rest never starves, each lower priority that has work waiting gets one
of every twenty starts, at fixed places in the count of starts: deterministic, and 5 % each whatever the load.

A lane whose grab is still under way keeps its claim on the slots that fall free meanwhile: giving them to a
lower lane just because the better one cannot be asked twice at a time would turn the order round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = [
    "GRAB_SECONDS",
    "LOST_AFTER_SECONDS",
    "STRIDE",
    "Lane",
    "Lanes",
    "Pull",
    "plan_pulls",
    "share_evenly",
]

STRIDE: Final = 20
"""Each lower priority that waits gets one start in this many."""
GRAB_SECONDS: Final = 0.25
"""So long may a grab linger on the broker when others took what was there."""
LOST_AFTER_SECONDS: Final = 2.0
"""A pull that has not ended so long after the broker should have ended it is given up."""

_POLL_SECONDS: Final = 5.0
_TIGHT_POLL_SECONDS: Final = 0.5
_ROTATION_SECONDS: Final = 0.05
_PROBE_SECONDS: Final = 0.01
_PROBE_EVERY_SECONDS: Final = 0.2
_ROOMY: Final = 8
"""With this many slots a lane, one slot held by each idle lane costs little, so they all are polled at all
times."""


class Lane(NamedTuple):
    """One pool at one priority."""

    pool: str
    priority: str


class Pull(NamedTuple):
    """Ask the broker for up to `batch` messages of a lane; it gives up after `expires_seconds` without
    any."""

    lane: int
    batch: int
    expires_seconds: float
    number: int
    """Names the pull in the broker's answer to it."""


def plan_pulls(free: int, waiting: Sequence[int], started: int) -> list[int]:
    """How many of the next `free` starts each priority gets.

    `waiting` is how much waits at each, best first; `started` counts all starts so far, and with it the turn
    of the lower ones comes round.
    """
    left = list(waiting)
    given = [0] * len(left)
    for number in range(started, started + free):
        chosen = _whose_turn(number, left)
        if chosen is None:
            break
        left[chosen] -= 1
        given[chosen] += 1
    return given


def _whose_turn(number: int, left: Sequence[int]) -> int | None:
    """The priority that gets start `number`: the one whose turn it is if it waits, else the best that
    waits."""
    place = number % STRIDE
    # Counted from the end of the stride: the last start of it belongs to the lowest, the one a third before
    # that to the next, and so on, so that the turns lie apart.
    behind = STRIDE - 1 - place
    step = STRIDE // len(left)
    if behind % step == 0:
        turn = len(left) - 1 - behind // step
        if turn > 0 and left[turn] > 0:
            return turn
    return next((index for index, count in enumerate(left) if count > 0), None)


def share_evenly(amount: int, waiting: Sequence[int], first: int = 0) -> list[int]:
    """Split an amount over equals, no one more than it has waiting; who begins turns with `first`."""
    given = [0] * len(waiting)
    order = [(first + offset) % len(waiting) for offset in range(len(waiting))] if waiting else []
    while amount > 0:
        open_ = [index for index in order if given[index] < waiting[index]]
        if not open_:
            break
        each = max(1, amount // len(open_))
        for index in open_:
            part = min(each, waiting[index] - given[index], amount)
            given[index] += part
            amount -= part
    return given


class _LaneState:
    """What is known of one lane."""

    __slots__ = ("asked", "expires_at", "grabbing", "number", "outstanding", "probed_at", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self.outstanding = 0
        self.asked = 0
        self.number = 0
        self.grabbing = False
        self.expires_at = 0.0
        self.probed_at = float("-inf")


class Lanes:
    """The book of slots and pulls of one executor. Told what happened, it says what to ask for next."""

    def __init__(self, capacity: int, pools: Sequence[str], priorities: Sequence[str]) -> None:
        self.capacity = capacity
        self.busy = 0
        """Slots taken by executions."""
        self.lanes = [Lane(pool, priority) for priority in priorities for pool in pools]
        """Best first; within a priority one for each pool."""
        self._width = len(pools)
        self._states = [_LaneState() for _ in self.lanes]
        self._roomy = capacity >= _ROOMY * len(self.lanes)
        self._pulls = 0
        self._started = 0
        self._turn = 0

    @property
    def outstanding(self) -> int:
        """Messages that pulls under way may still bring."""
        return sum(state.outstanding for state in self._states)

    @property
    def free(self) -> int:
        """Slots neither taken nor promised to a pull; never below 0."""
        return max(0, self.capacity - self.busy - self.outstanding)

    def delivered(self, lane: int, more: int, *, again: bool) -> None:
        """A message of a lane came; `more` of it wait on the broker, as the delivery says.

        `again` marks a redelivery: those are not among `more`, and where one comes others may follow.
        """
        state = self._states[lane]
        self.busy += 1
        state.outstanding = max(0, state.outstanding - 1)
        state.waiting = max(more, 2 * state.asked) if again else more

    def finished(self) -> None:
        """An execution gave its slot back."""
        self.busy -= 1

    def ended(self, number: int, *, empty: bool) -> None:
        """The broker ended a pull; `empty`: because nothing more waits in that lane."""
        for state in self._states:
            if state.number == number:
                state.outstanding = 0
                state.grabbing = False
                if empty:
                    state.waiting = 0

    def forget_pulls(self) -> None:
        """The connection was made anew: the broker knows none of the pulls, and what waits is not known."""
        for state in self._states:
            state.outstanding = 0
            state.number = 0
            state.grabbing = False
            state.waiting = 0

    def give_up_lost(self, now: float) -> list[Lane]:
        """Give up pulls that the broker should have ended long ago; the lanes they were for."""
        lost = []
        for lane, state in zip(self.lanes, self._states, strict=True):
            if state.outstanding and now > state.expires_at + LOST_AFTER_SECONDS:
                state.outstanding = 0
                state.grabbing = False
                lost.append(lane)
        return lost

    def plan(self, now: float) -> list[Pull]:
        """The pulls to make now. They count as outstanding from here on."""
        for state in self._states:
            if state.outstanding == 0:
                state.grabbing = False
        pulls: list[Pull] = []
        hot = any(state.waiting > 0 or state.grabbing for state in self._states)
        pulls += self._polls(now, hot)
        if hot:
            pulls += self._grabs(now)
        return pulls

    def _grabs(self, now: float) -> list[Pull]:
        free = self.free
        if free == 0:
            return []
        ranks = range(0, len(self.lanes), self._width)
        # A lane that is being asked still wants what it can get: it takes part, and its share stays free.
        wants = [max(state.waiting, free) if state.grabbing else state.waiting for state in self._states]
        shares = plan_pulls(free, [sum(wants[rank : rank + self._width]) for rank in ranks], self._started)
        self._turn += 1
        pulls = []
        for rank, share in zip(ranks, shares, strict=True):
            parts = share_evenly(share, wants[rank : rank + self._width], self._turn % self._width)
            for lane, part in enumerate(parts, rank):
                if part and self._states[lane].outstanding == 0:
                    self._started += part
                    pulls.append(self._pull(lane, part, GRAB_SECONDS, now, grabbing=True))
        return pulls

    def _polls(self, now: float, hot: bool) -> list[Pull]:
        """One slot for each idle lane, as far as they go."""
        idle = [
            lane for lane, state in enumerate(self._states) if state.outstanding == 0 and state.waiting == 0
        ]
        if hot and not self._roomy:
            return self._probes(idle, now)
        if self.capacity < len(self.lanes):
            self._turn += 1
            begin = self._turn % max(1, len(idle))
            idle, seconds = idle[begin:] + idle[:begin], _ROTATION_SECONDS
        else:
            seconds = _POLL_SECONDS if self._roomy else _TIGHT_POLL_SECONDS
        return [self._pull(lane, 1, seconds, now) for lane in idle[: self.free]]

    def _probes(self, idle: Sequence[int], now: float) -> list[Pull]:
        """Slots are few and other lanes have work: look into an idle lane only now and then, and only for a
        moment."""
        stale = [lane for lane in idle if now - self._states[lane].probed_at >= _PROBE_EVERY_SECONDS]
        return [self._pull(lane, 1, _PROBE_SECONDS, now) for lane in stale[: min(1, self.free)]]

    def _pull(self, lane: int, batch: int, seconds: float, now: float, *, grabbing: bool = False) -> Pull:
        self._pulls += 1
        state = self._states[lane]
        state.asked = state.outstanding = batch
        state.number = self._pulls
        state.grabbing = grabbing
        state.expires_at = now + seconds
        state.probed_at = now
        return Pull(lane, batch, seconds, self._pulls)
