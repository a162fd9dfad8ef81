"""12: a reply is lost, the caller retries, and the retry is swallowed as a duplicate."""

from __future__ import annotations

import pytest

from tests.harness.waiting import until_time
from tests.harness.world import World, now_ms

DUPLICATE_WINDOW_MS = 100
"""The broker drops a repetition within this time; a caller that waits for an answer retries later."""


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
async def test_a_retry_is_answered_as_the_command_was_and_decides_nothing(
    world: World, refused: bool
) -> None:
    """The first answer is sent and never arrives; the same id asks again and hears the same."""
    await world.fake_executor()
    task, body = world.task_in(0), {"description": "changed"} if not refused else {"no_such_field": 1}
    async with world.leader() as leader:
        await world.commands.create(task)
        lost = leader.bus.trap("_INBOX.*", "hold", on="send")
        command, _ = await world.commands.post("update", task, body)
        await lost.reached.wait()
        await world.events.one("rejected" if refused else "updated", task)
        assert world.commands.outcomes_waiting(command) == 0
        await leader.die()
    async with world.leader():
        await until_time(now_ms() + DUPLICATE_WINDOW_MS)
        await world.commands.post("update", task, body, command_id=command)
        outcome = await world.commands.outcome(command)
        assert outcome["ok"] is not refused
        assert outcome["replayed"] is True
        if refused:
            assert outcome["error"]["code"] == "unknown_field"
        assert len(world.events.of("updated", task)) == (0 if refused else 1)
        assert len(world.events.of("rejected", task)) == (1 if refused else 0)
        assert (await world.task_register(task))[1].version == (1 if refused else 2)


async def test_the_brokers_window_is_as_short_as_it_may_be(world: World) -> None:
    """A longer one would swallow retries, and the caller would wait for an answer that never comes."""
    info = await world.bus.stream_info("TASK_COMMANDS")
    assert info.config["duplicate_window"] == DUPLICATE_WINDOW_MS * 10**6
