"""Instants as COPY takes them: eight bytes, worked out once for each.

asyncpg works them out anew for every value, which takes as long as fifteen texts or numbers, and a row of
`executions` has six. The events of an execution name the same few instants again and again, in its row, its task's and
the archive, so the bytes are kept by instant, and looking them up is all that most values cost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, Final

from gnomon_api.readmodels.partitions import Connection

__all__ = ["instant_encoder", "keep_instants", "read_instant"]

_KEPT: Final = 20_000
"""More than two batches name."""
_BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Postgres counts microseconds from here."""
_MICROSECOND: Final = timedelta(microseconds=1)
_BIGINT: Final = Struct("!q")


class _Kept(dict[datetime, bytes]):
    def __missing__(self, at: datetime) -> bytes:
        if len(self) >= _KEPT:
            self.clear()
        encoded = self[at] = _BIGINT.pack((at - _BEGINNING) // _MICROSECOND)
        return encoded


def instant_encoder() -> Callable[[datetime], bytes]:
    """(an instant with a zone) -> `timestamptz` in Postgres' binary format. Raises TypeError without a zone."""
    return _Kept().__getitem__


def read_instant(data: bytes) -> datetime:
    """The other way round. Raises OverflowError for what no datetime holds, infinity among it."""
    (microseconds,) = _BIGINT.unpack(data)
    return _BEGINNING + timedelta(microseconds=microseconds)


async def keep_instants(connection: Connection) -> None:
    """Write and read the instants of this connection's COPY and single parameters so. Raises asyncpg's errors."""
    encode: Callable[[datetime], Any] = instant_encoder()
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=encode, decoder=read_instant, format="binary"
    )
