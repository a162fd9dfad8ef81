"""Commands as any other program sends them: nats-py alone, JSON, headers. Nothing of Gnomon's own client in here."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any, Final

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import PubAck

from tests.harness.waiting import PATIENCE

__all__ = ["Commands", "RefusedError", "fresh_id"]

_BETWEEN_TRIES: Final = 0.1


class RefusedError(AssertionError):
    """A command that should have been accepted was refused."""


def fresh_id(prefix: str = "c") -> str:
    """An id that nobody has used."""
    return f"{prefix}-{secrets.token_hex(8)}"


class Commands:
    """Sends commands and hears their outcomes."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self._js = nc.jetstream()
        self._inbox = nc.new_inbox()
        self._answers: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    @classmethod
    async def open(cls, url: str) -> Commands:
        """On a connection of its own, which reconnects for ever."""
        nc = await nats.connect(
            servers=url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_ignore
        )
        commands = cls(nc)
        await nc.subscribe(f"{commands._inbox}.*", cb=commands._answered)
        return commands

    async def close(self) -> None:
        """Close the connection."""
        await self.nc.close()

    async def post(
        self,
        verb: str,
        task_id: str,
        body: Any = None,
        *,
        command_id: str | None = None,
        kind: str = "task",
        data: bytes | None = None,
        reply_to: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[str, PubAck]:
        """Have a command stored, without waiting for its outcome; its id and JetStream's acknowledgement."""
        command_id = command_id if command_id is not None else fresh_id()
        if data is None:
            data = b"" if body is None else json.dumps(body).encode()
        given = {"Nats-Msg-Id": command_id, **(headers or {})}
        if reply_to is None:
            reply_to = self.inbox(command_id)
        if reply_to:
            given["Gnomon-Reply-To"] = reply_to
        given = {name: value for name, value in given.items() if value}
        ack = await self._js.publish(f"gnomon.cmd.{kind}.{verb}.{task_id}", data, headers=given)
        return command_id, ack

    def inbox(self, command_id: str) -> str:
        """Where the outcome of a command is heard."""
        key = command_id if command_id.isascii() and command_id.replace("-", "").isalnum() else "other"
        self._answers.setdefault(key, asyncio.Queue())
        return f"{self._inbox}.{key}"

    async def outcome(self, command_id: str, within: float = PATIENCE) -> dict[str, Any]:
        """Wait for the next outcome of a command."""
        key = self.inbox(command_id).rpartition(".")[2]
        try:
            async with asyncio.timeout(within):
                return await self._answers[key].get()
        except TimeoutError:
            raise TimeoutError(f"command {command_id} was not answered within {within:g} s") from None

    def outcomes_waiting(self, command_id: str) -> int:
        """Outcomes of a command that have come in and were not taken."""
        return self._answers[self.inbox(command_id).rpartition(".")[2]].qsize()

    async def send(
        self, verb: str, task_id: str, body: Any = None, *, within: float = PATIENCE, **options: Any
    ) -> dict[str, Any]:
        """Send a command and wait for its outcome."""
        command_id, _ = await self.post(verb, task_id, body, **options)
        return await self.outcome(command_id, within)

    async def ok(
        self, verb: str, task_id: str, body: Any = None, *, within: float = PATIENCE, **options: Any
    ) -> dict[str, Any]:
        """The same for one that has to be accepted. Raises RefusedError."""
        outcome = await self.send(verb, task_id, body, within=within, **options)
        if not outcome["ok"]:
            raise RefusedError(f"{verb} {task_id} was refused: {outcome['error']}")
        return outcome

    async def decided(
        self, verb: str, task_id: str, body: Any = None, *, within: float = 2.0, **options: Any
    ) -> dict[str, Any]:
        """Send a command under one id again and again until its outcome is there: `within` seconds for each try.

        So behaves whoever wants to know, while brokers and schedulers come and go.
        """
        command_id = options.pop("command_id", None) or fresh_id()
        while True:
            try:
                await self.post(verb, task_id, body, command_id=command_id, **options)
                return await self.outcome(command_id, within)
            except (TimeoutError, nats.errors.Error):
                await asyncio.sleep(_BETWEEN_TRIES)

    async def create(self, task_id: str, **spec: Any) -> dict[str, Any]:
        """Create a task: of type `echo` unless told otherwise."""
        options = {name: spec.pop(name) for name in ("command_id", "headers", "within") if name in spec}
        return await self.ok("create", task_id, {"name": task_id, "task_type": "echo", **spec}, **options)

    async def _answered(self, message: Msg) -> None:
        key = message.subject.rpartition(".")[2]
        self._answers.setdefault(key, asyncio.Queue()).put_nowait(json.loads(message.data))


async def _ignore(_: Exception) -> None:
    """Tests stop brokers: the client's words about it help nobody."""
