"""What is in force where a task says null: from its type, then from the system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.problems import FieldError
from gnomon_schemas.tasks import Resolved, RetryPolicy, TaskSpec

__all__ = ["DEFAULT_POOL", "DEFAULT_TIMEOUT_SECONDS", "KnownType", "resolve"]

DEFAULT_POOL = "default"
DEFAULT_TIMEOUT_SECONDS = 300.0
_DEFAULT = Resolved(pool=DEFAULT_POOL, timeout_seconds=DEFAULT_TIMEOUT_SECONDS, retry=RetryPolicy())


class KnownType(NamedTuple):
    """A task type that executors announced, with its config schema compiled."""

    announcement: TypeAnnouncement
    check: Callable[[bytes], list[FieldError]]
    """The faults of a config (JSON), with pointers from `#/config`."""
    resolved: Resolved
    """What is in force for a task that says null to everything."""

    @classmethod
    def of(cls, announcement: TypeAnnouncement, check: Callable[[bytes], list[FieldError]]) -> KnownType:
        """The type of an announcement."""
        resolved = Resolved(
            pool=announcement.pool, timeout_seconds=announcement.timeout_seconds, retry=announcement.retry
        )
        return cls(announcement, check, resolved)


def resolve(spec: TaskSpec, types: Mapping[str, KnownType]) -> Resolved:
    """Pool, timeout of one attempt and retry policy of a task's executions."""
    known = types.get(spec.task_type)
    default = _DEFAULT if known is None else known.resolved
    if spec.pool is None and spec.timeout_seconds is None and spec.retry is None:
        return default
    return Resolved(
        pool=spec.pool or default.pool,
        timeout_seconds=spec.timeout_seconds or default.timeout_seconds,
        retry=spec.retry or default.retry,
    )
