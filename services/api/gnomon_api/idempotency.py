"""One request, one command: what `Idempotency-Key` promises, and how.

The command's id is a hash of user, route and key, and so is the id of a task that the request creates without
naming one. A second request with the same key is therefore the same command, and the shard answers it as it
did the first time, whether or not Postgres is there.

That the second body is the first one's is what Postgres knows: the hash of the body is kept beside the key
for 24 h, and another body is refused. While Postgres is away this check is left out, and the shard's answer
to the first body stands. After 24 h the key is free again: a *generation*, kept with it, makes another id.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import uuid
from typing import Final

import msgspec
import structlog

from gnomon_api.database import Database, DatabaseAway
from gnomon_api.identity import Caller
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["KEY_HEADER", "Forgetting", "RequestIdentity", "Requests", "derived_id", "new_id"]

KEY_HEADER: Final = "idempotency-key"
_KEY_MAX_CHARS: Final = 255
_CLAIM_SECONDS: Final = 1.0
_FORGET_EVERY_SECONDS: Final = 3600.0
_log = structlog.get_logger(__name__)


class RequestIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that belong to one request."""

    command_id: str
    object_id: str
    """For what the request creates, where it does not name it."""
    keyed: bool
    """The request had an `Idempotency-Key`."""


def new_id() -> str:
    """A fresh id, a UUIDv7: ids made one after another sort so."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))


def derived_id(*parts: str) -> str:
    """An id that is a hash of its parts: 32 hexadecimal digits."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4))
        digest.update(encoded)
    return digest.hexdigest()[:32]


class Requests:
    """Gives requests their ids, and remembers what was asked under which key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def identify(
        self, caller: Caller, route: str, key: str | None, body: bytes, *, task_id: str = "", index: int = 0
    ) -> RequestIdentity:
        """The ids of a request. Raises Refused for a key that is none, or that was used with another body."""
        if key is None:
            return RequestIdentity(command_id=new_id(), object_id=new_id(), keyed=False)
        if not 1 <= len(key) <= _KEY_MAX_CHARS or not key.isprintable():
            message = f"has {len(key)} characters; allowed: 1 to {_KEY_MAX_CHARS}, printable"
            raise Refused(
                Code.INVALID,
                f"Idempotency-Key {message}",
                FieldError(pointer="#/Idempotency-Key", code=Code.INVALID, message=message),
            )
        request_id = derived_id(caller.user_id, route, key, str(index))
        generation = await self._claim(request_id, caller, task_id, hashlib.sha256(body).digest())
        command_id = request_id if not generation else derived_id(request_id, str(generation))
        return RequestIdentity(command_id=command_id, object_id=derived_id(command_id, "object"), keyed=True)

    async def _claim(self, request_id: str, caller: Caller, task_id: str, body_hash: bytes) -> int:
        """The generation of a key, after comparing the body; 0 while Postgres is away. Raises Refused."""
        try:
            async with asyncio.timeout(_CLAIM_SECONDS):
                row = await self._database.fetchrow(
                    statement("claim_request"), request_id, caller.user_id, task_id, body_hash
                )
        except (DatabaseAway, TimeoutError) as error:
            _log.info(LogEvent.KEY_UNCHECKED, request_id=request_id, error=str(error))
            return 0
        assert row is not None, "the statement always answers with the row"
        if row["body_hash"] != body_hash:
            raise Refused(
                Code.IDEMPOTENCY_MISMATCH,
                "this Idempotency-Key was used with another body within the last 24 h; take a new key",
            )
        generation: int = row["generation"]
        return generation

    async def remember(self, command_id: str, caller: Caller, task_id: str) -> None:
        """Keep that a command was sent whose outcome the caller did not hear, so that it can be looked up."""
        try:
            async with asyncio.timeout(_CLAIM_SECONDS):
                await self._database.execute(
                    statement("remember_command"), command_id, caller.user_id, task_id
                )
        except (DatabaseAway, TimeoutError) as error:
            _log.info(LogEvent.KEY_UNCHECKED, request_id=command_id, error=str(error))


class Forgetting(Service):
    """Removes the keys of requests that nobody repeats any more, each hour. Every replica does; it is harmless."""

    def __init__(self, database: Database) -> None:
        super().__init__("forgetting")
        self._database = database

    async def on_start(self) -> None:
        """Begin; the first time at once."""
        _ = self.spawn(self._loop(), "loop")

    async def _loop(self) -> None:
        while True:
            try:
                await self._database.execute(statement("forget_requests"))
            except DatabaseAway as error:
                # They go an hour later.
                _log.debug(LogEvent.KEYS_KEPT, error=str(error))
            await asyncio.sleep(_FORGET_EVERY_SECONDS)
