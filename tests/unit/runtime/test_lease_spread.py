"""Spreading leases: even, sticky, and the same for every member that sees the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.runtime.lease_spread import spread

NAMES = ["a", "b", "c", "d", "e"]


@st.composite
def situations(draw: st.DrawFn) -> tuple[int, dict[int, str], set[str]]:
    """Partitions, who holds which (some free, some held by members that are gone), and the live members."""
    partitions = draw(st.integers(1, 40))
    members = set(draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)))
    owner = st.none() | st.sampled_from([*NAMES, "gone"])
    held = {number: name for number in range(partitions) if (name := draw(owner)) is not None}
    return partitions, held, members


def step(partitions: int, owners: dict[int, str], members: set[str]) -> dict[int, str]:
    """What all members do at once, each by its own plan."""
    following = dict(owners)
    for me in sorted({*members, *owners.values()}):
        plan = spread(partitions, owners, members, me)
        assert plan.take.isdisjoint(owners), "only what is free is taken"
        assert all(owners[number] == me for number in plan.release), "only one's own is released"
        if me == "gone":
            continue
        for number in plan.release:
            del following[number]
        for number in plan.take:
            assert number not in following, "two members take the same lease"
            following[number] = me
    return following


@given(situations())
def test_it_becomes_even_and_then_stays(situation: tuple[int, dict[int, str], set[str]]) -> None:
    partitions, owners, members = situation
    for _ in range(2 * len(NAMES) + 4):
        after = step(partitions, owners, members)
        if after == owners:
            break
        owners = after
    else:
        raise AssertionError(f"it never settles: {owners}")
    held_by_the_gone = sum(name == "gone" for name in owners.values())
    assert len(owners) == partitions, "nothing stays free"
    counts = [sum(name == member for name in owners.values()) for member in members]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) == partitions - held_by_the_gone


@given(situations())
def test_nothing_moves_that_is_even_already(situation: tuple[int, dict[int, str], set[str]]) -> None:
    partitions, _, members = situation
    names = sorted(members)
    owners = {number: names[number % len(names)] for number in range(partitions)}
    assert step(partitions, owners, members) == owners


@given(st.integers(1, 40), st.integers(1, 4))
def test_a_newcomer_costs_only_its_own_share(partitions: int, already: int) -> None:
    names = NAMES[:already]
    before = {number: names[number % already] for number in range(partitions)}
    members = {*names, "newcomer"}
    owners = before
    for _ in range(6):
        owners = step(partitions, owners, members)
    moved = sum(owners[number] != before[number] for number in range(partitions))
    assert moved == sum(name == "newcomer" for name in owners.values()) == partitions // (already + 1)


def test_who_takes_no_part_gives_up_all() -> None:
    plan = spread(4, {0: "a", 1: "b", 2: "a"}, {"b"}, "a")
    assert (plan.take, plan.release, plan.may_take) == (frozenset(), frozenset({0, 2}), 0)


def test_room_above_the_own_share() -> None:
    """Of eight among three: three each at the most."""
    assert spread(8, {0: "a"}, {"a", "b", "c"}, "a").may_take == 2
    assert spread(8, dict.fromkeys(range(4), "a"), {"a", "b", "c"}, "a").may_take == 0
