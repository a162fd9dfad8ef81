"""Declaring a task type: the `task_type` decorator and what it leaves behind.

The decorated function stays an ordinary function. What Gnomon needs to know of it hangs on it as a
`TaskType`, which the executor finds by `collect` in the modules it is told to load.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from gnomon_schemas.limits import DURATION_MAX_SECONDS, is_id
from gnomon_schemas.tasks import RetryPolicy
from gnomon_schemas.workless import WORKLESS

__all__ = [
    "DEFAULT_POOL",
    "DEFAULT_TIMEOUT_SECONDS",
    "Isolation",
    "TaskType",
    "collect",
    "task_type",
    "task_type_of",
]

DEFAULT_POOL: Final = "default"
DEFAULT_TIMEOUT_SECONDS: Final = 3600.0
"""Of one attempt, where neither the task nor its type says anything else."""

Isolation: TypeAlias = Literal["loop", "thread", "process"]
"""Where a handler runs: `loop` for coroutines, `thread` for plain functions, `process` in a worker
process."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

_ATTRIBUTE: Final = "__gnomon_task_type__"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class TaskType(msgspec.Struct, frozen=True, kw_only=True):
    """What Gnomon knows of a task type."""

    name: str
    handler: Callable[..., Any]
    config_type: Any
    """What `config` is decoded into: the annotation of the handler's first parameter; Any where it has
    none."""
    takes_context: bool
    """Whether the handler has a second parameter, for its `Context`."""
    is_coroutine: bool
    pool: str
    timeout_seconds: float
    """Of one attempt, where the task says nothing."""
    retry: RetryPolicy
    """Where the task says nothing."""
    isolation: Isolation
    description: str
    one_at_a_time: bool = False
    """Of all tasks of this type together, one execution is in flight at a time."""

    def config_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the config. Raises TypeError where the annotation has no JSON form."""
        if self.config_type is Any or self.config_type is object:
            return {"type": "object"}
        return msgspec.json.schema(self.config_type)


def task_type(
    name: str,
    *,
    pool: str = DEFAULT_POOL,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    retry: RetryPolicy | None = None,
    isolation: Literal["process"] | None = None,
    one_at_a_time: bool = False,
    description: str | None = None,
) -> Callable[[Handler], Handler]:
    """Make a function the handler of the task type `name`.

    It takes the config (annotated with a msgspec Struct, a dict, or anything msgspec can decode) and, if it
    likes, a `Context`; what it returns becomes the result, as JSON. A coroutine function runs on the
    executor's handler loop, a plain one in a thread; `isolation="process"` runs either in a worker process
    that a timeout can kill. A thread cannot be killed: after its timeout it goes on, and its late return is
    dropped.

    `one_at_a_time`: over all tasks of the type, all executors and all shards, one execution is in flight at a time;
    the others wait, or are skipped where their overlap policy is `skip`. Such tasks take no key and no rate of their
    own.

    `description` is the function's docstring where not given. Raises ValueError for a bad name, pool or
    timeout, TypeError for a function of another shape.
    """
    _check_id("task type", name)
    _check_id("pool", pool)
    if name in WORKLESS:
        raise ValueError(f"task type {name!r} is built in and runs nothing; give yours another name")
    if not 0 < timeout_seconds <= DURATION_MAX_SECONDS:
        raise ValueError(
            f"task type {name!r}: timeout_seconds={timeout_seconds!r}: more than 0, at most {DURATION_MAX_SECONDS}"
        )

    def declare(handler: Handler) -> Handler:
        config_type, takes_context = _shape(name, handler)
        is_coroutine = inspect.iscoroutinefunction(handler)
        declared = TaskType(
            name=name,
            handler=handler,
            config_type=config_type,
            takes_context=takes_context,
            is_coroutine=is_coroutine,
            pool=pool,
            timeout_seconds=float(timeout_seconds),
            retry=retry or RetryPolicy(),
            isolation=isolation or ("loop" if is_coroutine else "thread"),
            description=description if description is not None else (inspect.getdoc(handler) or ""),
            one_at_a_time=one_at_a_time,
        )
        setattr(handler, _ATTRIBUTE, declared)
        return handler

    return declare


def task_type_of(value: object) -> TaskType | None:
    """What `task_type` left on a function, or None where it was not decorated."""
    found = getattr(value, _ATTRIBUTE, None)
    return found if isinstance(found, TaskType) else None


def collect(module: ModuleType) -> list[TaskType]:
    """The task types among a module's names, in order of definition."""
    found = (task_type_of(value) for value in vars(module).values())
    return [declared for declared in found if declared is not None]


def _check_id(what: str, text: str) -> None:
    if not is_id(text):
        raise ValueError(
            f"{what} {text!r}: 1 to 64 characters of A-Z a-z 0-9 _ -, not beginning with an underscore"
        )


def _shape(name: str, handler: Callable[..., Any]) -> tuple[Any, bool]:
    """The type of the handler's config, and whether it takes a context. Raises TypeError in words."""
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        raise TypeError(
            f"task type {name!r}: the handler is a generator; allowed: a coroutine or plain function"
        )
    parameters = list(inspect.signature(handler).parameters.values())
    if not 1 <= len(parameters) <= 2 or any(given.kind not in _POSITIONAL for given in parameters):
        raise TypeError(
            f"task type {name!r}: the handler takes {inspect.signature(handler)}; allowed: (config) or (config, ctx)"
        )
    try:
        hints = typing.get_type_hints(handler)
    except NameError as error:
        raise TypeError(
            f"task type {name!r}: the annotation of its config cannot be resolved ({error}); "
            "the type must be defined at module level, and not only for type checkers"
        ) from error
    return hints.get(parameters[0].name, Any), len(parameters) == 2
