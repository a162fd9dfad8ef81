"""From where on the events of a task are needed that is set aside, by when that happens."""

from __future__ import annotations

import pytest

from gnomon_scheduler.memory import ShardMemory
from gnomon_scheduler.registers import Aside
from gnomon_scheduler.setting_aside import SetAside
from tests.unit.scheduler.making import NOW_S, fly, memory_of, task_state

WATERMARK_MS = NOW_S * 1000
FOLDED, FOLLOWED = 1000, 2000
"""The stored fold position, and how far the log was followed."""


def _followed() -> ShardMemory:
    memory = memory_of(task_state("a"), task_state("b"))
    memory.position = FOLLOWED
    return memory


@pytest.mark.parametrize(
    ("first_seq", "dirty_from", "caught_up", "from_seq"),
    [
        (0, 0, False, FOLDED + 1),
        (0, 1500, False, FOLDED + 1),
        (900, 1500, False, 900),
        (0, 0, True, FOLLOWED + 1),
        (0, 1990, True, 1990),
        (900, 1990, True, 900),
    ],
)
def test_before_a_leader_has_caught_up_all_after_the_fold_position_is_needed(
    first_seq: int, dirty_from: int, caught_up: bool, from_seq: int
) -> None:
    """Events behind it were followed and not folded yet, or tell what was handed out after the watermark."""
    memory = _followed()
    aside = SetAside(memory, {}, WATERMARK_MS, FOLDED)
    if caught_up:
        aside.caught_up()
    task = memory.tasks["a"]
    if first_seq:
        fly(task, NOW_S).first_seq = first_seq
    if dirty_from:
        memory.note_dirty(task, dirty_from)
    aside.set("a", "folding an event", ValueError("poison"))
    assert aside.entries(caught_up=False) == {"a": Aside(WATERMARK_MS, from_seq)}
    assert "a" in aside
    assert "b" not in aside
