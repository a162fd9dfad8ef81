"""The kinds of objects besides tasks and pools: their commands, their events, what their ids may be.

Everything that treats them alike goes by this table: which commands are understood, how an event is decoded, what the
documents of the contract show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from gnomon_schemas.accounts import (
    ACCOUNT_EVENT_TYPES,
    ACCOUNT_ID_PATTERN,
    CreateAccount,
    CreditAccount,
    UpdateAccount,
)
from gnomon_schemas.blackouts import (
    CalendarCreated,
    CalendarDeleted,
    CalendarSpec,
    CalendarUpdated,
    DeleteCalendar,
)
from gnomon_schemas.limits import ID_PATTERN
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.templates import (
    DeleteTemplate,
    TemplateCreated,
    TemplateDeleted,
    TemplateSpec,
    TemplateUpdated,
)

__all__ = ["OBJECT_KINDS", "ObjectMessages", "Verb", "is_object_id", "object_event_name"]


class Verb(NamedTuple):
    """One thing that a command does to an object."""

    payload: type[msgspec.Struct]
    words: str
    """What it does, for documents."""
    patch: bool = False
    """The payload is a merge patch (RFC 7396) of the Struct."""


class ObjectMessages(NamedTuple):
    """What is said to, and of, the objects of one kind."""

    id_field: str
    """What the id is called in payloads and addresses."""
    id_words: str
    verbs: Mapping[str, Verb]
    events: Mapping[str, type[ObjectEvent]]
    """By the event's name in its subject."""
    id_pattern: str = ID_PATTERN
    id_example: str = ""


OBJECT_KINDS: Final[Mapping[str, ObjectMessages]] = {
    "template": ObjectMessages(
        "template_id",
        "Id of the template.",
        {
            "create": Verb(TemplateSpec, "Makes a template."),
            "update": Verb(
                TemplateSpec, "Changes a template; tasks made from it stay as they are.", patch=True
            ),
            "delete": Verb(DeleteTemplate, "Deletes a template; tasks made from it stay as they are."),
        },
        {"created": TemplateCreated, "updated": TemplateUpdated, "deleted": TemplateDeleted},
        id_example="daily-weather",
    ),
    "calendar": ObjectMessages(
        "calendar_id",
        "Id of the calendar of blackouts.",
        {
            "create": Verb(CalendarSpec, "Makes a calendar of blackouts."),
            "update": Verb(
                CalendarSpec,
                "Changes a calendar; lists are replaced whole. What it put off goes when it is over as it is then.",
                patch=True,
            ),
            "delete": Verb(DeleteCalendar, "Deletes a calendar: what it put off goes."),
        },
        {"created": CalendarCreated, "updated": CalendarUpdated, "deleted": CalendarDeleted},
        id_example="maintenance",
    ),
    "account": ObjectMessages(
        "account_id",
        "The user id in base64url without padding.",
        {
            "create": Verb(CreateAccount, "Makes a user's account."),
            "update": Verb(UpdateAccount, "Sets a user's tier and limits."),
            "credit": Verb(CreditAccount, "Gives a user credits."),
        },
        ACCOUNT_EVENT_TYPES,
        ACCOUNT_ID_PATTERN,
        id_example="dTE",
    ),
}
"""By kind, as in the subjects of its commands and events."""

_IDS: Final = {kind: re.compile(messages.id_pattern) for kind, messages in OBJECT_KINDS.items()}
_NAMES: Final = {
    struct: name for messages in OBJECT_KINDS.values() for name, struct in messages.events.items()
}


def is_object_id(kind: str, text: str) -> bool:
    """Whether `text`, whole, may be the id of an object of this kind. Raises KeyError for a kind that is none."""
    return _IDS[kind].fullmatch(text) is not None


def object_event_name(event: ObjectEvent) -> str:
    """The event's name as in its subject, so `created`."""
    return _NAMES[type(event)]
