"""What the OpenAPI document says of an operation, as types; and the types of answers that no other module has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from gnomon_api.cluster import TypeView
from gnomon_api.execution_views import Execution
from gnomon_api.pool_views import PoolView
from gnomon_schemas.problems import Code, Problem
from gnomon_schemas.tasks import Task, TaskSpec

__all__ = [
    "CommandView",
    "ExecutionPage",
    "OneOf",
    "Operation",
    "OrStream",
    "Patch",
    "PoolPage",
    "TaskPage",
    "Text",
    "TypePage",
]


class TaskPage(msgspec.Struct):
    """A page of tasks."""

    items: tuple[Task, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


class ExecutionPage(msgspec.Struct):
    """A page of executions."""

    items: tuple[Execution, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


class PoolPage(msgspec.Struct):
    """All pools."""

    items: tuple[PoolView, ...]
    next_cursor: None
    """There is no other page."""


class TypePage(msgspec.Struct):
    """All task types."""

    items: tuple[TypeView, ...]
    next_cursor: None
    """There is no other page."""


class CommandView(msgspec.Struct):
    """What became of a command; what is not known yet is left out."""

    command_id: str
    status: str
    """`pending`, `ok` or `refused`."""
    task_id: str | None = None
    execution_id: str | None = None
    event: str | None = None
    """Name of the event that answers it."""
    error: Problem | None = None
    decided_at: str | None = None
    asked_at: str | None = None
    seq: int | None = None


class Text(NamedTuple):
    """An answer that is no JSON."""

    media_type: str


class OrStream(NamedTuple):
    """An answer that is a stream of server-sent events where that is asked for."""

    kind: type[msgspec.Struct]
    stream: str
    """An example of it."""


class Patch(NamedTuple):
    """A body that is a merge patch of a task or another object."""

    kind: type[msgspec.Struct] = TaskSpec


class OneOf(NamedTuple):
    """An answer that is of one type or the other, by what was asked for."""

    kinds: tuple[type[msgspec.Struct], ...]


class Operation(NamedTuple):
    """What the document says of a route besides its docstring."""

    tag: str
    answers: Mapping[int, Any]
    """Status to type; None: no body."""
    body: Any = None
    params: Sequence[Mapping[str, Any]] = ()
    headers: Sequence[str] = ()
    problems: Sequence[Code] = ()
    """Codes of the problems that it may answer with, besides those of every route."""
