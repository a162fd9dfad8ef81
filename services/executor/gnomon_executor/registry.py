"""The task types that this executor runs: loaded from modules, and told to everybody else."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Final

import msgspec

from gnomon import TaskType
from gnomon.task_types import collect
from gnomon_core.runtime.settings import SettingsError
from gnomon_schemas.members import TypeAnnouncement

__all__ = ["BUILTIN_MODULES", "ENTRY_POINTS", "Registry", "TypesNotLoaded", "load_types"]

ENTRY_POINTS: Final = "gnomon.task_types"
"""Installed packages name modules with task types in this entry-point group."""
BUILTIN_MODULES: Final = (
    "gnomon_executor.builtin.echo",
    "gnomon_executor.builtin.sleep",
    "gnomon_executor.builtin.http_request",
)


class TypesNotLoaded(SettingsError):
    """A module with task types cannot be loaded; the message names the module and what is wrong with it."""


class _Entry:
    """A task type and what it takes to decode its config."""

    __slots__ = ("decode", "task_type")

    def __init__(self, task_type: TaskType) -> None:
        self.task_type = task_type
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(task_type.config_type).decode


class Registry:
    """Task types by name. Raises TypesNotLoaded where two of one name meet, or a config type has no JSON
    form."""

    def __init__(self, types: Iterable[TaskType], version: str) -> None:
        self._entries: dict[str, _Entry] = {}
        self._announcements: dict[str, TypeAnnouncement] = {}
        for task_type in types:
            self._add(task_type, version)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all types, sorted."""
        return tuple(sorted(self._entries))

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that the types belong to, sorted."""
        return tuple(sorted({entry.task_type.pool for entry in self._entries.values()}))

    def __iter__(self) -> Iterator[TaskType]:
        return (entry.task_type for entry in self._entries.values())

    def get(self, name: str) -> TaskType | None:
        """A type by name; None where this executor does not run it."""
        entry = self._entries.get(name)
        return entry.task_type if entry is not None else None

    def decoder(self, name: str) -> Callable[[bytes], Any]:
        """What decodes the config of a type. Raises KeyError for a type that is not here."""
        return self._entries[name].decode

    def announcements(self) -> Sequence[TypeAnnouncement]:
        """What to tell the others of each type."""
        return tuple(self._announcements.values())

    def _add(self, task_type: TaskType, version: str) -> None:
        known = self._entries.get(task_type.name)
        if known is not None:
            if known.task_type.handler is task_type.handler:
                return  # found through two modules
            first, second = known.task_type.handler, task_type.handler
            raise TypesNotLoaded(
                f"task type {task_type.name!r} is defined twice: in {_place(first)} and in {_place(second)}"
            )
        try:
            schema = msgspec.json.encode(task_type.config_schema())
            entry = _Entry(task_type)
        except TypeError as error:
            raise TypesNotLoaded(
                f"task type {task_type.name!r}: its config {task_type.config_type!r} has no JSON form: {error}"
            ) from error
        self._entries[task_type.name] = entry
        self._announcements[task_type.name] = TypeAnnouncement(
            name=task_type.name,
            description=task_type.description,
            pool=task_type.pool,
            timeout_seconds=task_type.timeout_seconds,
            retry=task_type.retry,
            config_schema=msgspec.Raw(schema),
            isolation=task_type.isolation,
            version=version,
            one_at_a_time=task_type.one_at_a_time,
        )


def load_types(modules: Sequence[str], *, installed: bool = True) -> list[TaskType]:
    """The task types of modules by name, of the built-in ones, and of installed packages that offer some.

    The working directory is appended to the import path, so that `--tasks MODULE` finds what lies beside the
    caller. Raises TypesNotLoaded for a module that cannot be imported or that has no task type.
    """
    here = os.getcwd()
    if modules and here not in sys.path:
        sys.path.append(here)
    found: list[TaskType] = []
    for name in BUILTIN_MODULES:
        found += collect(importlib.import_module(name))
    for name in modules:
        types = collect(_import(name))
        if not types:
            raise TypesNotLoaded(
                f"module {name!r} has no task type: decorate a function in it with @task_type(…)"
            )
        found += types
    for point in entry_points(group=ENTRY_POINTS) if installed else ():
        found += collect(_import(point.module))
    return found


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        # A module that is missing, or is no Python, fails inside the import machinery, whose lines help nobody.
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith("<frozen")
            and frame.filename not in (__file__, importlib.__file__)
        ]
        place = f" (in {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        raise TypesNotLoaded(
            f"module {name!r} cannot be imported: {type(error).__name__}: {error}{place}"
        ) from error


def _place(handler: Callable[..., Any]) -> str:
    return f"{handler.__module__}.{handler.__qualname__}"
