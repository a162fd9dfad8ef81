"""A checksum per read model, to compare rows made live with rows made again.

Each row is hashed as text and the hashes are added up, so the order of rows does not matter and nothing has
to be sorted or held in memory. Two tables with the same count and sum hold the same rows.
"""

from __future__ import annotations

from typing import NamedTuple

from gnomon_api.readmodels.sections import READ_MODELS
from gnomon_api.readmodels.writer import Connection

__all__ = ["READ_MODELS", "Checksum", "checksums", "sums"]


class Checksum(NamedTuple):
    """What one table holds."""

    rows: int
    digest: str


async def checksums(connection: Connection, schema: str) -> dict[str, Checksum]:
    """The checksum of every read model in a schema, all of the same moment. Raises asyncpg's errors."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await sums(connection, schema)


async def sums(connection: Connection, schema: str) -> dict[str, Checksum]:
    """The same inside a transaction of the caller's, who sees to it that nothing changes meanwhile."""
    found: dict[str, Checksum] = {}
    # Text of times and numbers must not depend on who asks.
    await connection.execute("set local timezone to 'UTC'")
    for table in READ_MODELS:
        row = await connection.fetchrow(
            # The table is one of the list above; an identifier cannot be a parameter.
            f"""
            select count(*) as rows,
                   coalesce(sum(('x' || left(digest, 15))::bit(60)::bigint), 0)::text || '-'
                   || coalesce(sum(('x' || right(digest, 15))::bit(60)::bigint), 0)::text as digest
            from (select md5(t::text) as digest from {_quoted(schema)}.{table} as t) as hashed
            """  # noqa: S608
        )
        assert row is not None, "an aggregate always answers"
        found[table] = Checksum(row["rows"], row["digest"])
    return found


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
