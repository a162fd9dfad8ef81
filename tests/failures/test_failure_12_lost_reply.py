"""12: a reply is lost, the caller retries, and the retry is swallowed as a duplicate."""

from __future__ import annotations

import pytest

from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.stopping import Trap
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


async def test_a_caller_whose_scheduler_died_before_the_reply_is_answered_by_the_next(world: World) -> None:
    """The command is not acknowledged before the reply, so it comes again, and is not decided again."""
    await world.fake_executor()
    first = await world.scheduler(traps=[Trap(subject="_INBOX.*", on="send", do="kill")])
    command, _ = await world.commands.post("create", "t", {"name": "t", "task_type": "echo"})
    assert await first.ended() == -9
    assert world.commands.outcomes_waiting(command) == 0
    await world.events.one("created", "t")
    await world.scheduler()
    outcome = await world.commands.outcome(command)
    assert outcome["ok"]
    assert outcome["task"]["task_id"] == "t"
    assert [seen.name for seen in world.events.of(task_id="t")] == ["created"]


async def test_every_command_is_answered_whatever_write_the_leader_dies_at(world: World) -> None:
    """By exactly one event with its id, and by an outcome that says what that event says."""
    await world.fake_executor()

    async def scene(stage: Stage) -> None:
        create = await stage.commands.create(stage.task)
        paused = await stage.commands.ok("pause", stage.task, {"note": "for now"})
        refused = await stage.commands.send("update", stage.task, {"name": ""})
        same = await stage.commands.ok("update", stage.task, {"name": stage.task})
        versions = [outcome["task"]["version"] for outcome in (create, paused, same)]
        # Told again by a successor, `task` is the state by then: never older than the command made it.
        assert versions[0] in {1, 2}
        assert versions[1:] == [2, 2]
        assert refused["error"]["code"] == "invalid"

    def check(stage: Stage, audit: Audit) -> None:
        answered = [seen.event.command_id for seen in world.events.of(task_id=stage.task)]
        names = [seen.name for seen in world.events.of(task_id=stage.task) if seen.name != "status_changed"]
        assert names == ["created", "updated", "rejected", "unchanged"], names
        assert len(set(answered)) >= 4

    assert await at_every_write(world, scene, check=check) >= 8
