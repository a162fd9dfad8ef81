"""Attempts that nobody has claimed, for what only looks at them."""

from __future__ import annotations

from gnomon_executor.attempt import Attempt
from gnomon_executor.delivery import Delivery
from gnomon_schemas.dues import Due
from gnomon_schemas.samples import samples

__all__ = ["an_attempt"]


def an_attempt() -> Attempt:
    """An attempt of the due in the samples."""
    due = samples()["task.due"]
    assert isinstance(due, Due)
    delivery = Delivery("task.due.default.medium.3.t", b"", None, "", "c", 1, 1, 0, 0)
    return Attempt(due, delivery, 3, "n")
