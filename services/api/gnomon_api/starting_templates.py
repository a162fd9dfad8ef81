"""The templates that a new Gnomon begins with: what people ask for first.

They stand on task types that are there from the start. What fetches news or weather calls a service that the caller
names: none is built in, since none is everybody's. An operator who has one puts its address into `default_config` and
takes `url` out of `required_fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["STARTING_TEMPLATES"]

_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": 1024}


def _calls(
    name: str,
    description: str,
    category: str,
    asks_for: Mapping[str, Any],
    schedule: Mapping[str, Any],
    *,
    level: str = "free",
    optional: tuple[str, ...] = (),
    **defaults: Any,
) -> dict[str, Any]:
    """One that posts what it asks for, as JSON, to a service that the caller names."""
    return {
        "name": name,
        "description": description,
        "category": category,
        "task_type": "http_request",
        "default_config": {"method": "POST", "body": {}},
        "required_fields": ["url", *(f"body.{field}" for field in asks_for)],
        "optional_fields": ["headers", "expected_status", "config.timeout_seconds", *optional],
        "config_schema": {"properties": {"body": {"type": "object", "properties": dict(asks_for)}}},
        "required_subscription_level": level,
        "tags": ["http"],
        "defaults": {"schedule": dict(schedule), "retry": {"max_attempts": 3}, **defaults},
    }


STARTING_TEMPLATES: Final[Mapping[str, Mapping[str, Any]]] = {
    "daily-weather": _calls(
        "Daily weather",
        "Asks a weather service every morning for the forecast of a place.",
        "daily",
        {"location": _TEXT},
        {"kind": "daily", "time": "07:00"},
        optional=("body.units",),
    ),
    "daily-news": _calls(
        "Daily news digest",
        "Asks a news service every morning for what is new about some topics.",
        "daily",
        {"topics": {"type": "array", "minItems": 1, "maxItems": 50, "items": _TEXT}},
        {"kind": "daily", "time": "07:30"},
        optional=("body.language",),
    ),
    "news-monitor": _calls(
        "News monitor",
        "Asks a news service every half hour whether there is something new about a topic.",
        "monitoring",
        {"topic": _TEXT},
        {"kind": "interval", "minutes": 30},
        level="basic",
        optional=("body.language",),
    ),
    "weather-alert": _calls(
        "Weather alert",
        "Asks a weather service every hour whether a place is warned of something.",
        "monitoring",
        {"location": _TEXT, "condition": _TEXT},
        {"kind": "interval", "hours": 1},
        level="basic",
    ),
    "price-tracker": _calls(
        "Price tracker",
        "Asks a shop's service every six hours for the price of a product.",
        "monitoring",
        {"product": _TEXT},
        {"kind": "interval", "hours": 6},
        level="basic",
        optional=("body.below",),
    ),
    "data-backup": _calls(
        "Nightly backup",
        "Tells a backup service every night what to save. A run that is missed is made up for.",
        "operations",
        {"source": _TEXT},
        {"kind": "daily", "time": "02:00"},
        level="pro",
        optional=("body.target",),
        timeout_seconds=3600,
        catch_up={"policy": "latest", "grace_seconds": 43_200},
        overlap="queue",
    ),
    "website-check": {
        "name": "Website check",
        "description": "Calls an address every five minutes and tells when it stops answering.",
        "category": "monitoring",
        "task_type": "http_request",
        "default_config": {"method": "GET", "timeout_seconds": 10},
        "required_fields": ["url"],
        "tags": ["http"],
        "defaults": {
            "schedule": {"kind": "interval", "minutes": 5},
            "catch_up": {"policy": "skip"},
            "expires_seconds": 240,
        },
    },
    "todo": {
        "name": "To do",
        "description": "Something to do until a day, with a reminder where you set `reminder_time`.",
        "category": "personal",
        "task_type": "todo",
        "required_fields": ["name", "due_date"],
        "tags": ["personal"],
    },
    "reminder": {
        "name": "Reminder",
        "description": "Reminds you once, at `reminder_time`.",
        "category": "personal",
        "task_type": "reminder",
        "required_fields": ["name", "reminder_time"],
        "tags": ["personal"],
    },
    "recurring-reminder": {
        "name": "Recurring reminder",
        "description": "Reminds you at every time of a schedule.",
        "category": "personal",
        "task_type": "reminder",
        "required_fields": ["name", "schedule"],
        "tags": ["personal"],
    },
    "hello": {
        "name": "Hello",
        "description": "Says what you tell it, every minute: to see that everything works.",
        "category": "examples",
        "task_type": "echo",
        "default_config": {"say": "hello"},
        "defaults": {"schedule": {"kind": "interval", "minutes": 1}},
        "tags": ["example"],
    },
}
"""By id: the bodies of `template.create`."""
