"""The task types without work, as everybody knows them: they are there before any executor is.

Their configs hold what the people who are reminded need; nothing in Gnomon acts by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from gnomon_core.rules.task_type import DEFAULT_POOL, DEFAULT_TIMEOUT_SECONDS, KnownType
from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import RetryPolicy, TaskSpec
from gnomon_schemas.workless import CALENDAR_EVENT, REMINDER, TODO, WORKLESS

__all__ = ["WORKLESS_TYPES", "check_reminder", "is_workless"]

_WORDS: Final = {"type": ["string", "null"], "maxLength": 4096}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 1024}
_INSTANT: Final = {"type": ["string", "null"], "format": "date-time"}
_CHECKLIST: Final = {
    "type": "array",
    "maxItems": 200,
    "items": {
        "type": "object",
        "properties": {"text": _NAME, "done": {"type": "boolean"}},
        "required": ["text"],
        "additionalProperties": False,
    },
}
_CONFIGS: Final[dict[str, dict[str, Any]]] = {
    TODO: {"properties": {"notes": _WORDS, "checklist": _CHECKLIST, "url": _WORDS}},
    REMINDER: {"properties": {"message": _WORDS, "url": _WORDS}},
    CALENDAR_EVENT: {
        "properties": {
            "event_id": _NAME,
            "calendar_id": _NAME,
            "title": _WORDS,
            "location": _WORDS,
            "start_time": _INSTANT,
            "end_time": _INSTANT,
            "url": _WORDS,
        },
        "required": ["event_id"],
    },
}
_DESCRIPTIONS: Final = {
    TODO: "Something that somebody is to do: a due date, a reminder, and its owner calls it done. Runs nothing.",
    REMINDER: "Reminds people at `reminder_time`, or at every slot of its schedule. Runs nothing.",
    CALENDAR_EVENT: "Linked to an entry of a calendar, whose id is in the config. Runs nothing.",
}


def _known(name: str) -> KnownType:
    return KnownType.of(
        TypeAnnouncement(
            name=name,
            description=_DESCRIPTIONS[name],
            pool=DEFAULT_POOL,
            timeout_seconds=DEFAULT_TIMEOUT_SECONDS,
            retry=RetryPolicy(),
            config_schema=msgspec.Raw(msgspec.json.encode({"type": "object", **_CONFIGS[name]})),
            isolation="none",
            version="built in",
        )
    )


WORKLESS_TYPES: Final[Mapping[str, KnownType]] = MappingProxyType(
    {name: _known(name) for name in sorted(WORKLESS)}
)
"""By name. Further fields of their configs are kept as they are."""


def is_workless(task_type: str) -> bool:
    """Whether tasks of this type are told by their shard, not run by an executor."""
    return task_type in WORKLESS


def check_reminder(spec: TaskSpec) -> None:
    """Make sure that a `reminder` has a time at which it reminds. Raises Refused."""
    if spec.task_type == REMINDER and spec.schedule is None and spec.reminder_time is None:
        message = "a reminder needs a `reminder_time` or a `schedule`"
        raise Refused(
            Code.INVALID, message, FieldError(pointer="#/reminder_time", code=Code.INVALID, message=message)
        )
