"""What other services tell, and Gnomon acts on. They are the owners of these messages: unknown fields are ignored."""

from __future__ import annotations

from typing import Final

import msgspec

from gnomon_schemas.accounts import Tier

__all__ = [
    "CALENDAR_EVENT_CREATED",
    "ECOSYSTEM_SUBJECTS",
    "SUBSCRIPTION_CHANGED",
    "USER_DELETED",
    "CalendarEventCreated",
    "SubscriptionChanged",
    "UserDeleted",
]

USER_DELETED: Final = "account_service.user.deleted"
SUBSCRIPTION_CHANGED: Final = "subscription_service.subscription.changed"
CALENDAR_EVENT_CREATED: Final = "calendar_service.event.created"


class UserDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A user is gone: their tasks are cancelled; what runs may finish, and history stays."""

    user_id: str
    timestamp: str | None = None
    """When."""
    reason: str | None = None
    """Why, in words."""


class SubscriptionChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A user has another subscription: their account gets its tier, and with it limits and templates."""

    user_id: str
    new_tier: Tier
    old_tier: str | None = None
    """Told, and not looked at: the account is set to the new one whatever it was."""


class CalendarEventCreated(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar has a new entry: it becomes a reminder where the user's account asks for that."""

    user_id: str
    event_id: str
    """Of the calendar: an entry is linked once, however often it is told."""
    title: str
    start_time: str
    """When the entry begins, RFC 3339 with an offset."""


ECOSYSTEM_SUBJECTS: Final[dict[str, type[msgspec.Struct]]] = {
    USER_DELETED: UserDeleted,
    SUBSCRIPTION_CHANGED: SubscriptionChanged,
    CALENDAR_EVENT_CREATED: CalendarEventCreated,
}
"""What is heard, by subject."""
