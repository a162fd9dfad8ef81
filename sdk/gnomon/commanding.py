"""A connection that commands go out on, and their outcomes come back.

A command is a JetStream publish that carries its own id. The outcome comes back on an inbox of this connection.
Where the outcome does not come, the same command is published again *with the same id*: whoever decides it
knows the ids it has decided, so a repeat is answered and never acted on twice. That is why every method takes
a `command_id`: a caller that keeps it can repeat the call after its own crash.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from gnomon.errors import GnomonError, NotAnswered
from gnomon.ids import new_id
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.commands import Outcome
from gnomon_schemas.limits import COMMAND_MAX, is_id
from gnomon_schemas.problems import Code, problem

__all__ = ["RESEND_AFTER_SECONDS", "Commanding", "incomplete"]

RESEND_AFTER_SECONDS: Final = 2.0
"""Without an outcome for this long the command is published again. Longer than the stream's duplicate window
(100 ms), within which a repeat would be swallowed."""


class Commanding:
    """Sends commands in one name, and waits for what became of each.

    `user_id` acts for that user; None acts for the system. `timeout` is how many seconds a command waits for
    its outcome, repeats included. `nats_options` go to `nats.connect` as they are (credentials, TLS,
    callbacks). Used as an async context manager, or with `connect` and `close`.
    """

    def __init__(
        self,
        servers: str | Sequence[str] = "nats://127.0.0.1:4222",
        *,
        user_id: str | None = None,
        roles: Sequence[str] = (),
        timeout: float = 10.0,
        name: str = "gnomon-client",
        **nats_options: Any,
    ) -> None:
        self._servers = [servers] if isinstance(servers, str) else list(servers)
        self._user_id = user_id
        self._roles = tuple(roles)
        self._timeout = timeout
        self._options: dict[str, Any] = {"name": name, "max_reconnect_attempts": -1, **nats_options}
        self._nc: Nats | None = None
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}

    async def connect(self) -> Self:
        """Connect. Raises what `nats.connect` raises when no server can be reached."""
        if self._nc is None:
            nc = await nats.connect(servers=self._servers, **self._options)
            self._inbox = nc.new_inbox()
            await nc.subscribe(f"{self._inbox}.*", cb=self._outcome_came)
            self._nc = nc
        return self

    async def close(self) -> None:
        """Close the connection. A second call does nothing."""
        nc, self._nc = self._nc, None
        if nc is not None:
            await nc.close()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _command(
        self,
        verb: str,
        object_id: str,
        body: Any,
        command_id: str | None = None,
        if_match: int | None = None,
        *,
        kind: str = "task",
    ) -> Outcome:
        command_id = command_id or new_id()
        for what, given in ((f"{kind}_id", object_id), ("command_id", command_id)):
            if not is_id(given):
                raise GnomonError(problem(Code.INVALID_ID, f"{what}={given!r} is not an id"), command_id)
        data = encode(body)
        if len(data) > COMMAND_MAX:
            raise GnomonError(
                problem(Code.TOO_LARGE, f"the command has {len(data)} bytes; allowed: {COMMAND_MAX}"),
                command_id,
            )
        token = new_id()
        headers = {h.MSG_ID: command_id, h.REPLY_TO: f"{self._inbox}.{token}"}
        if self._user_id is not None:
            headers[h.USER] = self._user_id
        if self._roles:
            headers[h.ROLES] = ",".join(self._roles)
        if if_match is not None:
            headers[h.IF_MATCH] = str(if_match)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        try:
            outcome = await self._ask(subjects.command(kind, verb, object_id), data, headers, answer)
        finally:
            del self._waiting[token]
        if outcome.ok:
            return outcome
        raise GnomonError(outcome.error or problem(Code.INTERNAL, "refused without a reason"), command_id)

    async def _ask(
        self, subject: str, data: bytes, headers: dict[str, str], answer: asyncio.Future[Outcome]
    ) -> Outcome:
        """Publish until an outcome comes or the time is up."""
        js = self._connected().jetstream()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while (left := deadline - loop.time()) > 0:
            pause = min(left, RESEND_AFTER_SECONDS)
            resend_at = loop.time() + pause
            # Whatever goes wrong with the publish, the command may have been stored: only its outcome tells.
            with contextlib.suppress(
                nats.errors.TimeoutError,
                nats.js.errors.ServiceUnavailableError,
                nats.js.errors.NoStreamResponseError,
            ):
                await js.publish(subject, data, headers=dict(headers), timeout=pause)
            done, _ = await asyncio.wait((answer,), timeout=max(0.0, resend_at - loop.time()))
            if done:
                return answer.result()
        raise NotAnswered(subject, headers[h.MSG_ID], self._timeout)

    async def _outcome_came(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting.done():
            return
        try:
            waiting.set_result(decode(message.data, Outcome))
        except msgspec.DecodeError as error:  # ValidationError too
            waiting.set_exception(error)

    def _connected(self) -> Nats:
        if self._nc is None:
            raise RuntimeError(
                "not connected: use `async with Client(…) as gnomon`, or await connect() first"
            )
        return self._nc


def incomplete(outcome: Outcome, missing: str) -> GnomonError:
    """The error of an outcome that is good and lacks what it is to bring."""
    return GnomonError(
        problem(Code.INTERNAL, f"accepted, but the answer lacks {missing}"), outcome.command_id
    )
