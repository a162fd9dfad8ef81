"""A guard around a step of the turn that is about one pool, key or user: where it fails, that one is set aside.

Of a task `setting_aside` does the same. What fails for another reason than that one object (the broker's answers, a
leader after this one) is not caught here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from gnomon_core.runtime.bus_errors import BusError
from gnomon_scheduler.commit import Deposed

__all__ = ["Guard"]


class Guard:
    """`with Guard(take):` - `take` is given what was raised inside, and the turn goes on."""

    __slots__ = ("_take",)

    def __init__(self, take: Callable[[Exception], None]) -> None:
        self._take = take

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, Deposed | BusError):
            return False
        self._take(error)
        return True
