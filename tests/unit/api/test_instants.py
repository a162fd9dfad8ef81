"""Instants in Postgres' binary format."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_api.readmodels import instants
from gnomon_api.readmodels.instants import instant_encoder, read_instant


@pytest.mark.parametrize(
    ("at", "microseconds"),
    [
        (datetime(2000, 1, 1, tzinfo=UTC), 0),
        (datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
        (datetime(2026, 9, 21, 13, 33, 20, 123_456, tzinfo=UTC), 843_312_800_123_456),
        (datetime(2000, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime.max.replace(tzinfo=UTC), 252_455_615_999_999_999),
    ],
)
def test_microseconds_since_the_year_2000(at: datetime, microseconds: int) -> None:
    encode = instant_encoder()
    for _ in range(2):  # worked out, and looked up
        assert encode(at) == microseconds.to_bytes(8, "big", signed=True)
    assert read_instant(encode(at)) == at


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=20))
def test_each_comes_back_however_many_are_kept(many: list[datetime]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instants, "_KEPT", 3)
        encode = instant_encoder()
        assert [read_instant(encode(at)) for at in many] == many


def test_a_time_without_a_zone_is_no_instant() -> None:
    with pytest.raises(TypeError):
        instant_encoder()(datetime(2026, 9, 21))  # noqa: DTZ001 - that is what is refused


def test_infinity_is_no_datetime() -> None:
    with pytest.raises(OverflowError):
        read_instant((2**63 - 1).to_bytes(8, "big"))
