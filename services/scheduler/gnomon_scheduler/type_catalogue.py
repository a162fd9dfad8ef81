"""The task types that executors announced, and which of them some live executor runs.

Two sources: the bucket of announcements, which stays (a task may be created while its executors are away), and the
live members, which tell whether a due of a type would find anybody.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from gnomon_core.rules.task_type import KnownType
from gnomon_core.rules.workless import WORKLESS_TYPES
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.membership import MemberWatch
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.codec import decode
from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.subjects import TYPES_BUCKET

__all__ = ["TypeCatalogue"]

_log = structlog.get_logger(__name__)
_PREFIX = f"$KV.{TYPES_BUCKET}."


class TypeCatalogue(Service):
    """Known types, with their config schemas compiled. Ready when everything announced so far is known."""

    def __init__(self, bus: NatsBus, members: MemberWatch) -> None:
        super().__init__("types")
        self._bus, self._members = bus, members
        self.known: dict[str, KnownType] = dict(WORKLESS_TYPES)
        """Announced types, and those without work, by name. Shared with the shards, which only read it."""
        self.alone: set[str] = set()
        """Those of them that run one at a time."""
        self._live: dict[str, frozenset[str]] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when a type was announced, or other types are live."""

    async def on_start(self) -> None:
        """Load the announcements and follow them, and the members."""
        self._members.listen(self._members_changed)
        follower = Follower(
            self._bus, f"KV_{TYPES_BUCKET}", [f"{_PREFIX}>"], handler=self._heard, name="types-follower"
        )
        await self.start_child(follower)
        await follower.loaded.wait()

    def is_live(self, pool: str, task_type: str) -> bool:
        """Whether some live executor of the pool, not about to stop, runs the type."""
        live = self._live.get(pool)
        if live is None:
            live = self._live[pool] = self._members.types_live(pool)
        return task_type in live

    def capacity(self, pool: str) -> int:
        """How many executions the live executors of a pool, not about to stop, take at a time."""
        return self._members.capacity(pool)

    def _members_changed(self) -> None:
        self._live.clear()
        self.on_change()

    async def _heard(self, messages: list[Stored]) -> None:
        for message in messages:
            self._take(message)
        self.on_change()

    def _take(self, message: Stored) -> None:
        name = message.subject.removeprefix(_PREFIX)
        if name in WORKLESS_TYPES:
            _log.error(LogEvent.TYPE_UNREADABLE, type=name, error="this type is built in and runs nothing")
            return
        self.alone.discard(name)
        if not message.data:
            self.known.pop(name, None)
            return
        try:
            announcement = decode(message.data, TypeAnnouncement)
            self.known[name] = KnownType.of(announcement)
            if announcement.one_at_a_time:
                self.alone.add(name)
        except (msgspec.DecodeError, ValueError) as error:
            # The type stays unknown, so creating a task of it is refused by name; the others are not touched.
            _log.error(LogEvent.TYPE_UNREADABLE, type=name, error=str(error))
