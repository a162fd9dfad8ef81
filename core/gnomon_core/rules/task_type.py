"""Task types as executors announced them: whether a task fits its type, and what is in force where it says null.

A value that a task leaves null comes from its type, then from the system. The shard decides by this, and the api plans
by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from gnomon_core.rules.json_schema import check_config, compile_schema
from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import Resolved, RetryPolicy, TaskSpec

__all__ = ["DEFAULT_POOL", "DEFAULT_TIMEOUT_SECONDS", "KnownType", "check_type", "resolve"]

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
    def of(cls, announcement: TypeAnnouncement) -> KnownType:
        """The type of an announcement. Raises ValueError, in words, for a schema that cannot be used."""
        validator = compile_schema(bytes(announcement.config_schema))
        resolved = Resolved(
            pool=announcement.pool, timeout_seconds=announcement.timeout_seconds, retry=announcement.retry
        )
        return cls(announcement, lambda config: check_config(config, validator), resolved)


def check_type(spec: TaskSpec, types: Mapping[str, KnownType]) -> None:
    """Make sure that the type is known and that the config fits it. Raises Refused."""
    known = types.get(spec.task_type)
    if known is None:
        allowed = ", ".join(sorted(types))
        close = get_close_matches(spec.task_type, types, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise Refused(
            Code.UNKNOWN_TASK_TYPE,
            f"no executor has announced the task type {spec.task_type!r}{meant}; known are: {allowed}",
            FieldError(
                pointer="#/task_type",
                code=Code.UNKNOWN_TASK_TYPE,
                message=f"{spec.task_type!r} is not known{meant}; known are: {allowed}",
            ),
        )
    if known.announcement.one_at_a_time:
        _check_alone(spec)
    faults = known.check(bytes(spec.config))
    if faults:
        raise Refused(
            Code.INVALID_CONFIG, f"the config does not fit the task type {spec.task_type!r}", *faults
        )


def _check_alone(spec: TaskSpec) -> None:
    """A type that runs one at a time has a key of its own, and an execution has no second one. Raises Refused."""
    given = {"concurrency_key": spec.concurrency_key, "rate_limit": spec.rate_limit}
    errors = [
        FieldError(
            pointer=f"#/{name}",
            code=Code.INVALID,
            message=f"tasks of type {spec.task_type!r} run one at a time, which leaves no room for this; leave it out",
        )
        for name, value in given.items()
        if value is not None
    ]
    if errors:
        raise Refused(Code.INVALID, f"the task type {spec.task_type!r} runs one at a time", *errors)


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
