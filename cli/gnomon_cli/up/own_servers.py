"""Servers of the user's own, which `gnomon up` uses instead of embedded ones: are they there at all?

Asked before anything is started, since a service that finds no server rightly waits for it, and whoever
mistyped an address would wait with it.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import nats
import nats.errors

from gnomon_cli.errors import CliError
from gnomon_cli.up.announcer import without_password

__all__ = ["check_database", "check_nats"]

_PATIENCE_SECONDS = 5
_POSTGRES_PORT = 5432


async def check_nats(url: str, credentials: str | None) -> None:
    """Connect once. Raises `CliError` when that fails."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            client = await nats.connect(
                url.split(","),
                name="gnomon-up-check",
                user_credentials=credentials,
                # By itself the client tries sixty times, with two seconds between.
                max_reconnect_attempts=1,
                reconnect_time_wait=0.1,
                error_cb=_quietly,
            )
        await client.close()
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        raise CliError(
            f"GNOMON_NATS_URL is set, and no NATS server answers at {without_password(url)}: "
            f"{str(error) or 'no answer'}",
            hint="start that server, or unset GNOMON_NATS_URL to get an embedded one",
        ) from None


async def check_database(url: str) -> None:
    """See whether somebody listens there.

    Raises `CliError` when not; whether it is a Postgres, the api finds out.
    """
    parts = urlsplit(url)
    if parts.hostname is None:
        return  # a socket file or something of the driver's own
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or _POSTGRES_PORT)
        writer.close()
    except (OSError, TimeoutError) as error:
        raise CliError(
            f"GNOMON_DATABASE_URL is set, and nobody answers at {without_password(url)}: {str(error) or 'no answer'}",
            hint="start that Postgres, or unset GNOMON_DATABASE_URL to get an embedded one",
        ) from None


async def _quietly(error: Exception) -> None:
    """The failure itself is raised by the connect; this would only print it twice."""
