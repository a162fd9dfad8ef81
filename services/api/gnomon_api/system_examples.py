"""Examples of how the system stands (types, processes, pools, health, what was set aside) for the OpenAPI document: see
`openapi_examples`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gnomon_schemas.codec import encode
from gnomon_schemas.tasks import RetryPolicy

__all__ = ["SYSTEM_ANSWERS"]

_AT: Final = "2026-11-21T09:00:00.000Z"
_RETRY: Final = msgspec.json.decode(encode(RetryPolicy()))
_POOL: Final = {"pool": "mail", "max_in_flight": 20, "paused": False, "version": 2, "updated_at": _AT}
_POOL_WORK: Final = {"executors": 2, "capacity": 40, "waiting": 7, "pending": 0, "in_flight": 20}
_SHARD: Final = {
    "partition": 0,
    "leader": "s-1",
    "epoch": 4,
    "watermark": _AT,
    "lag_seconds": 0.0,
    "tasks": 1,
    "in_flight": 0,
    "next_fire": "2026-11-23T08:00:00.000Z",
}

_POISON: Final = {
    "poison_id": "0f7a4c1d9b3e5a6887c2d4e6f8a0b1c3",
    "name": "ECOSYSTEM:17",
    "subject": "subscription_service.subscription.changed",
    "stored_at": _AT,
    "set_aside_at": _AT,
    "reason": "it cannot be read: Object missing required field `new_tier`",
    "payload": '{"user_id": "u1"}',
    "headers": {},
}
SYSTEM_ANSWERS: Final[dict[tuple[str, int], Any]] = {
    ("list_task_types", 200): {
        "items": [
            {
                "name": "sleep",
                "description": "Sleeps.",
                "pool": "default",
                "timeout_seconds": 300.0,
                "retry": _RETRY,
                "config_schema": {"type": "object", "properties": {"seconds": {"type": "number"}}},
                "isolation": "loop",
                "version": "0.1.0",
                "one_at_a_time": False,
                "live": True,
            }
        ],
        "next_cursor": None,
    },
    ("read_scheduler", 200): {
        "partitions": 1,
        "shards": [{**_SHARD, "catch_up": {"waiting": 0, "held": 0}, "set_aside": {"tasks": 0, "ids": []}}],
        "schedulers": [
            {"id": "s-1", "host": "node-7", "pid": 4710, "started_at": _AT, "shards": [_SHARD]},
        ],
    },
    ("read_executors", 200): {
        "items": [
            {
                "id": "e-1",
                "host": "node-7",
                "pid": 4711,
                "version": "0.1.0",
                "pools": ["default"],
                "task_types": ["echo", "http_request", "sleep"],
                "capacity": 20,
                "running": 3,
                "draining": False,
                "started_at": _AT,
            }
        ],
        "pools": [{"pool": "default", "priority": "medium", "pending": 0, "in_flight": 3}],
    },
    ("decide_catch_up", 200): {"action": "approve", "held": 4312, "shards": 8, "pending": []},
    ("decide_catch_up", 202): {"action": "approve", "held": 4312, "shards": 7, "pending": [3]},
    ("list_misfits", 200): {
        "items": [
            {
                "task_id": "nightly-report",
                "user_id": "u1",
                "name": "Nightly report",
                "status": "scheduled",
                "errors": [
                    {
                        "pointer": "#/config/region",
                        "code": "invalid_config",
                        "message": "this field is required",
                    }
                ],
            }
        ],
        "checked": 214,
        "next_cursor": None,
    },
    ("list_pools", 200): {"items": [{**_POOL, **_POOL_WORK}], "next_cursor": None},
    ("patch_pool", 200): _POOL,
    ("list_poison", 200): {"items": [_POISON], "next_cursor": None},
    ("retry_poison", 202): _POISON,
    ("livez", 200): {"status": "ok"},
    ("readyz", 200): {"status": "ready", "checks": {"nats": "ok", "postgres": "ok"}},
    ("readyz", 503): {"status": "not ready", "checks": {"nats": "not connected", "postgres": "ok"}},
    ("health", 200): {
        "status": "ok",
        "version": "0.1.0",
        "checks": {"nats": "ok", "postgres": "ok"},
        "read_models": {"sequence": 42, "time": _AT},
        "event_readers": 1,
    },
}
"""Answers by operation and status."""
