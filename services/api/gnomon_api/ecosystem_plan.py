"""What a message of another service asks for, as commands: pure.

**Idempotent.** A message has a name that stays its own however often it is delivered or sent again: its `Nats-Msg-Id`,
else its `ce-id`, else the stream and sequence where it is stored. The ids of the commands are made from that name, so
a second delivery is the same commands, which shards answer and do not decide again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from gnomon_api.idempotency import derived_id
from gnomon_api.identity import Caller
from gnomon_schemas import headers as h
from gnomon_schemas.accounts import UpdateAccount, account_id_of
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import encode
from gnomon_schemas.ecosystem import CalendarEventCreated, SubscriptionChanged, UserDeleted
from gnomon_schemas.headers import ADMIN_ROLE
from gnomon_schemas.limits import NAME_MAX_CHARS, USER_ID_MAX_CHARS
from gnomon_schemas.workless import CALENDAR_EVENT

__all__ = ["Unusable", "Wanted", "closing_of", "message_name", "reminders_of", "tier_of", "user_of"]


class Unusable(Exception):
    """A message that will never do: the text says why. It is set aside."""

    def __init__(self, why: str, pointers: frozenset[str] = frozenset()) -> None:
        """`pointers`: the fields of the command that were refused, where it was for fields."""
        super().__init__(why)
        self.pointers = pointers


class Wanted(NamedTuple):
    """One command that a message asks for."""

    kind: str
    verb: str
    object_id: str
    command_id: str
    payload: bytes
    caller: Caller


def message_name(headers: Mapping[str, str], stream: str, sequence: int) -> str:
    """What a message is known by."""
    return headers.get(h.MSG_ID) or headers.get(h.CE_ID) or f"{stream}:{sequence}"


def user_of(told: UserDeleted | SubscriptionChanged | CalendarEventCreated) -> str:
    """The user that a message is about. Raises Unusable for what can be none."""
    user = told.user_id
    if not 1 <= len(user) <= USER_ID_MAX_CHARS or not user.isprintable() or user != user.strip():
        raise Unusable(f"user_id is {user[:80]!r}; allowed: 1 to {USER_ID_MAX_CHARS} printable characters")
    return user


def closing_of(name: str, told: UserDeleted) -> Wanted:
    """Close the account of a user who is gone: shards cancel what tasks there are; what runs may finish."""
    user = user_of(told)
    reason = "user deleted" if not told.reason else f"user deleted: {told.reason}"
    return Wanted(
        "account",
        "update",
        account_id_of(user),
        # Another service may name its message about the user the same.
        derived_id("closing", name, user),
        encode(UpdateAccount(closed=True, closed_note=reason[:_REASON_CHARS])),
        _service("account_service"),
    )


def tier_of(name: str, told: SubscriptionChanged) -> Wanted:
    """Set an account's tier."""
    user = user_of(told)
    return Wanted(
        "account",
        "update",
        account_id_of(user),
        derived_id("ecosystem", name, user),
        encode(UpdateAccount(tier=told.new_tier)),
        _service("subscription_service"),
    )


def reminders_of(name: str, told: CalendarEventCreated, *, told_ms: int, lead_ms: int) -> tuple[Wanted, ...]:
    """Ways to make the task that is linked to an entry, the best first; none where the entry has begun before it was
    told.

    It reminds `lead_ms` before the entry begins; where that has passed by the time the command is decided, since nobody
    was there to listen or the entry was told too late, when the entry begins. Each is made of what is stored with the
    message and has a command id of its own, so that a second delivery comes to the same. Raises Unusable.
    """
    user = user_of(told)
    try:
        start_ms = instant_ms(told.start_time)
    except ValueError as error:
        raise Unusable(f"start_time {error}") from None
    if start_ms <= told_ms:
        return ()
    early = (start_ms - lead_ms, derived_id("ecosystem", name, user))
    at_start = (start_ms, derived_id("ecosystem", name, user, "at start"))
    return tuple(
        _linked_task(user, told, start_ms, remind_ms, command_id)
        for remind_ms, command_id in (early, at_start)
        if remind_ms > told_ms
    )


def _linked_task(
    user: str, told: CalendarEventCreated, start_ms: int, remind_ms: int, command_id: str
) -> Wanted:
    start = format_instant(start_ms)
    body = {
        "name": (told.title.strip() or told.event_id)[:NAME_MAX_CHARS],
        "task_type": CALENDAR_EVENT,
        "config": {"event_id": told.event_id, "title": told.title, "start_time": start},
        "due_date": start,
        "reminder_time": format_instant(remind_ms),
        "tags": ["calendar"],
    }
    return Wanted(
        "task",
        "create",
        # By the entry and not by the message: an entry that is told twice under two names is one task.
        derived_id("calendar", user, told.event_id),
        command_id,
        msgspec.json.encode(body),
        Caller(user_id=user, roles=frozenset()),
    )


_REASON_CHARS: Final = 200


def _service(name: str) -> Caller:
    return Caller(user_id=name, roles=frozenset({ADMIN_ROLE}))
