"""Which of two wishes to end one execution counts."""

from __future__ import annotations

from typing import Final

from gnomon_scheduler.registers import Cancelling

__all__ = ["is_stronger"]

_LETTING_GO: Final = frozenset({"paused", "blackout"})


def is_stronger(reason: str, present: Cancelling | None) -> bool:
    """Whether a wish to end an execution replaces the one that is there. A pause's, and a blackout's, lets go of what
    was claimed."""
    return (
        present is None
        or reason == "deleted"
        or (present.reason in _LETTING_GO and reason not in _LETTING_GO)
    )
