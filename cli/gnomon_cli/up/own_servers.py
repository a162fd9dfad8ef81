"""Servers of the user's own, which `gnomon up` uses instead of embedded ones: are they there at all?

Asked before anything is started, since a service that finds no server rightly waits for it, and whoever
mistyped an address would wait with it.
"""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

import nats
import nats.errors
from nats.aio.client import Client

from gnomon_cli.errors import CliError
from gnomon_cli.up.announcer import without_password

__all__ = ["check_database", "check_nats"]

_PATIENCE_SECONDS = 5
_POSTGRES_PORT = 5432
_POSTGRES_SCHEMES = ("postgresql", "postgres")
_NATS_SCHEMES = ("nats://", "tls://", "ws://", "wss://")


async def check_nats(url: str, credentials: str | None) -> None:
    """Connect once, and ask for JetStream. Raises `CliError` when either fails."""
    for address in url.split(","):
        if "://" in address and not address.strip().startswith(_NATS_SCHEMES):
            raise CliError(
                f"GNOMON_NATS_URL begins with {address.strip().partition('//')[0]}//: allowed is an address like "
                "nats://127.0.0.1:4222, or several with commas"
            )
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
        try:
            await _check_jetstream(client, url)
        finally:
            await client.close()
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        raise CliError(
            f"GNOMON_NATS_URL is set, and no NATS server answers at {without_password(url)}: "
            f"{str(error) or 'no answer'}",
            hint="start that server, or unset GNOMON_NATS_URL to get an embedded one",
        ) from None


async def _check_jetstream(client: Client, url: str) -> None:
    try:
        await client.request("$JS.API.INFO", timeout=_PATIENCE_SECONDS)
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        raise CliError(
            f"the NATS server at {without_password(url)}, from GNOMON_NATS_URL, has no JetStream",
            hint="start it with `nats-server -js`, or with a jetstream block in its configuration "
            "(deploy/nats/server.conf is one); where it has accounts, enable it for this user's",
        ) from None


async def check_database(url: str) -> None:
    """See whether somebody listens there.

    Raises `CliError` when not; whether it is a Postgres, the api finds out.
    """
    parts = urlsplit(url)
    if parts.scheme not in _POSTGRES_SCHEMES:
        raise CliError(
            "GNOMON_DATABASE_URL is no address of a Postgres: allowed is one like "
            "postgresql://user:password@host:5432/database",
        )
    if parts.hostname is None:
        return  # a socket file or something of the driver's own
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or _POSTGRES_PORT)
        writer.close()
    except (OSError, TimeoutError) as error:
        raise CliError(
            f"GNOMON_DATABASE_URL is set, and nobody answers at {without_password(url)}: {_words(error)}",
            hint="start that Postgres, or unset GNOMON_DATABASE_URL to get an embedded one",
        ) from None


def _words(error: OSError) -> str:
    """What the system says, without the number and the address that asyncio puts around it."""
    return os.strerror(error.errno).lower() if error.errno else str(error) or "no answer"


async def _quietly(error: Exception) -> None:
    """The failure itself is raised by the connect; this would only print it twice."""
