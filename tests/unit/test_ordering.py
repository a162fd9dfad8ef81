"""The order of files among several workers."""

from __future__ import annotations

import pytest

from tests.ordering import in_turns, order


@pytest.mark.parametrize(
    ("some", "others", "expected"),
    [
        ("abc", "123", "1a2b3c"),
        ("abcd", "12", "a1bc2d"),
        ("abcd", "1", "ab1cd"),
        ("", "12", "12"),
        ("ab", "", "ab"),
    ],
)
def test_two_sequences_take_turns_and_keep_their_order(some: str, others: str, expected: str) -> None:
    assert "".join(in_turns(some, others)) == expected


def test_no_test_is_lost_or_torn_from_its_file(request: pytest.FixtureRequest) -> None:
    """Asked of the tests of this very call."""
    items = list(request.session.items)
    order(items)
    assert sorted(item.nodeid for item in items) == sorted(item.nodeid for item in request.session.items)
    for name in {item.nodeid.partition("::")[0] for item in items}:
        numbers = [number for number, item in enumerate(items) if item.nodeid.startswith(f"{name}::")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
