"""Who should hold which lease: pure arithmetic over what one member sees.

Even: no two members differ by more than one. Sticky: what is held stays where it is unless evenness asks for
it. Every member works this out by itself from its own view; where views differ for a moment, two may try for
one lease, which compare-and-set decides, or a lease is given up that need not have been, which costs one
hand-over. Nothing here is for safety.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

__all__ = ["Plan", "spread"]


class Plan(msgspec.Struct, frozen=True):
    """What one member should do now."""

    take: frozenset[int]
    """Free leases that fall to this member."""
    release: frozenset[int]
    """Leases it holds that should go to others."""
    may_take: int
    """How many leases it may hold above those it has, whoever they fall to: for leases that nobody picks
    up."""


def spread(partitions: int, owners: Mapping[int, str], candidates: Collection[str], me: str) -> Plan:
    """The part of `me` in spreading leases 0 to `partitions` - 1 evenly.

    `owners` tells who holds each lease that is held; one held by somebody who is no candidate stays with him
    until it is given up or lapses. `candidates` are the members that take part; a member that is not among
    them gives up all.
    """
    mine = {number for number, owner in owners.items() if owner == me}
    if me not in candidates:
        return Plan(frozenset(), frozenset(mine), 0)
    members = sorted(candidates)
    held = {member: sorted(n for n, owner in owners.items() if owner == member) for member in members}
    free = sorted(set(range(partitions)) - owners.keys())
    counts = {member: len(numbers) for member, numbers in held.items()}

    take: set[int] = set()
    for number in free:
        poorest = min(members, key=lambda member: (counts[member], member))
        counts[poorest] += 1
        if poorest == me:
            take.add(number)

    release: set[int] = set()
    kept = {member: [*numbers] for member, numbers in held.items()}
    while True:
        poorest = min(members, key=lambda member: (counts[member], member))
        # The richest gives, and only what it really holds: what it is about to take can still go elsewhere.
        givers = [member for member in members if kept[member]]
        if not givers:
            break
        richest = max(givers, key=lambda member: (counts[member], member))
        if counts[richest] - counts[poorest] <= 1:
            break
        counts[richest] -= 1
        counts[poorest] += 1
        given = kept[richest].pop()
        if richest == me:
            release.add(given)

    most = -(-partitions // len(members))
    return Plan(frozenset(take), frozenset(release), max(0, most - len(mine)))
