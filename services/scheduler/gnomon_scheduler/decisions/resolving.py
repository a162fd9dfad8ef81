"""What is in force where a task says null: from its type, then from the system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.problems import FieldError
from gnomon_schemas.tasks import Resolved, RetryPolicy, TaskSpec

__all__ = ["DEFAULT_POOL", "DEFAULT_TIMEOUT_SECONDS", "KnownType", "resolve"]

DEFAULT_POOL = "default"
DEFAULT_TIMEOUT_SECONDS = 300.0
_DEFAULT_RETRY = RetryPolicy()


class KnownType(NamedTuple):
    """A task type that executors announced, with its config schema compiled."""

    announcement: TypeAnnouncement
    check: Callable[[bytes], list[FieldError]]
    """The faults of a config (JSON), with pointers from `#/config`."""


def resolve(spec: TaskSpec, types: Mapping[str, KnownType]) -> Resolved:
    """Pool, timeout of one attempt and retry policy of a task's executions."""
    known: Any = types.get(spec.task_type)
    announced = None if known is None else known.announcement
    return Resolved(
        pool=spec.pool or (announced.pool if announced else DEFAULT_POOL),
        timeout_seconds=spec.timeout_seconds
        or (announced.timeout_seconds if announced else DEFAULT_TIMEOUT_SECONDS),
        retry=spec.retry or (announced.retry if announced else _DEFAULT_RETRY),
    )
