"""What handlers log goes into `TASK_LOGS`: from wherever they run, in order, and without holding up a run."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import msgspec
import pytest

from gnomon import Client
from gnomon_core.runtime.bus import connect
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode
from gnomon_schemas.dues import Due
from gnomon_schemas.events import Started
from gnomon_schemas.limits import LOG_LINES_MAX
from gnomon_schemas.run_logs import RunLogLine, RunLogLines
from tests.harness.stopping import TRAPS_VARIABLE, Trap, TrapBus
from tests.harness.world import tell
from tests.integration.executor.harness import Lab, executor_process, make_due, settings_for, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def messages(lab: Lab, due: Due) -> list[RunLogLines]:
    """What the stream has of an execution."""
    subject = subjects.run_log(lab.partition(due), due.task_id, due.run)
    stored = await lab.stored(subject, subjects.LOGS_STREAM)
    return [decode(one.data, RunLogLines) for one in stored]


async def lines(lab: Lab, due: Due, until_message: str = "done") -> list[RunLogLine]:
    """The lines of an execution, once the last is there."""

    async def look() -> list[RunLogLine]:
        found = [line for told in await messages(lab, due) for line in told.lines]
        return found if found and found[-1].message.startswith(until_message) else []

    return await until(look)


@pytest.mark.parametrize("task_type", ["test_logs", "test_logs_thread", "test_logs_process"])
async def test_lines_are_kept_in_order_wherever_the_handler_runs(lab: Lab, task_type: str) -> None:
    due = make_due(task_type, {"lines": 50})
    async with lab.worker(executor_id="e-logging"):
        await lab.emit(due)
        await lab.ended(due)
        found = await lines(lab, due)
    assert [line.message for line in found] == ["begun", *["line"] * 50, "done"]
    assert [line.n for line in found] == list(range(1, 53))
    assert [line.level for line in found[:2]] == ["debug", "info"]
    assert [msgspec.json.decode(line.details)["number"] for line in found[1:-1]] == list(range(50))
    assert msgspec.json.decode(found[-1].details) == {"odd": "<class 'object'>"}
    told = (await messages(lab, due))[0]
    started = next(event for event in await lab.chain(due) if isinstance(event, Started))
    assert (told.execution_id, told.user_id, told.attempt) == (due.execution_id, "u1", 1)
    assert (told.executor, told.claim > 0, started.executor) == ("e-logging", True, "e-logging")


async def test_another_service_hears_lines_and_progress_as_they_come(lab: Lab) -> None:
    """Of a process's handler and of a loop's alike, by the client for microservices."""
    due = make_due("test_logs_thread", {"lines": 2})
    async with (
        lab.worker(),
        Client(lab.url) as client,
        client.logs(due.task_id, due.run) as logs,
        client.progress(due.task_id) as progress,
    ):
        await lab.emit(due)
        heard = await asyncio.wait_for(anext(logs), 10)
        told = await asyncio.wait_for(anext(progress), 10)
    assert [line.message for line in heard.lines] == ["begun", "line", "line", "done"]
    assert (told.execution_id, told.fraction, told.message) == (due.execution_id, 1.0, "logged")
    with pytest.raises(ValueError, match="is not the run"):
        client.logs(due.task_id, "*")


async def test_attempts_are_told_apart_and_one_message_carries_many_lines(lab: Lab) -> None:
    first = make_due("test_logs", {"lines": 3, "succeed_at": 2})
    async with lab.worker():
        await lab.emit(first)

        async def retrying() -> int:
            stored = await lab.stored(lab.chain_of(first))
            return stored[-1].seq if len(stored) == 2 else 0

        cause = await until(retrying)
        second = msgspec.structs.replace(first, attempt=2, cause_seq=cause)
        await lab.emit(second)
        await lab.ended(second)

        async def both() -> bool:
            return {told.attempt for told in await messages(lab, first)} == {1, 2}

        await until(both)
    found = await messages(lab, first)
    assert {told.attempt: told.claim for told in found}[1] < {told.attempt: told.claim for told in found}[2]
    assert len(found) == 2, "each attempt's five lines went as one message"
    assert [line.n for line in found[1].lines] == [1, 2, 3, 4, 5]


async def test_no_more_lines_than_are_kept_of_one_attempt(lab: Lab) -> None:
    due = make_due("test_logs_process", {"lines": 3 * LOG_LINES_MAX})
    async with lab.worker():
        await lab.emit(due)
        await lab.ended(due)
        found = await lines(lab, due, "further lines")
    assert len(found) == LOG_LINES_MAX


async def test_a_run_ends_while_nats_is_away_and_its_lines_come_later(lab: Lab, nats_url: str) -> None:
    """The executor's connection is cut while the handler runs and logs: nothing waits for it."""
    due = make_due("test_logs", {"lines": 5, "wait": "/nowhere/to/be/found"}, timeout_seconds=1.0)
    bus = await connect(settings_for(nats_url), name="test-cut")
    async with lab.worker(bus=bus):
        await lab.emit(due)
        assert len(await lines(lab, due)) == 7
        again = make_due("test_logs", {"lines": 5})
        await lab.emit(again)
        await lab.ended(again)
        assert bus.nc._transport is not None
        bus.nc._transport.close()  # type: ignore[no-untyped-call]  # of nats-py: as a broken connection does
        await lab.ended(due)
        assert len(await lines(lab, again)) == 7


async def test_lines_of_a_killed_executor_are_kept_and_the_next_try_has_its_own(
    lab: Lab, tmp_path: Path
) -> None:
    """Killed with -9 while the handler runs: what it had logged is in the stream; the take-over logs under its own
    claim, of the same attempt."""
    go = tmp_path / "go"
    due = make_due("test_logs", {"lines": 20, "wait": str(go)}, pool="default")
    async with executor_process(lab, tmp_path) as process:
        await lab.emit(due)
        assert len(await lines(lab, due)) == 22
        process.signal(signal.SIGKILL)
        await process.wait()
    go.touch()
    async with lab.worker():
        await lab.ended(due, timeout=30)

        async def second() -> bool:
            return len({told.claim for told in await messages(lab, due)}) == 2

        await until(second)
    found = await messages(lab, due)
    assert {told.attempt for told in found} == {1}
    for claim in {told.claim for told in found}:
        numbers = [line.n for told in found if told.claim == claim for line in told.lines]
        assert numbers == list(range(1, 23))
    tell(f"22 lines before the kill and 22 of the take-over are in {len(found)} messages")


async def test_lines_whose_answer_was_lost_are_sent_again_under_their_numbers(
    lab: Lab, nats_url: str
) -> None:
    """Stored twice, then, and known for the same: `tests/integration/api/test_run_log_keeper.py`."""
    due = make_due("test_logs", {"lines": 5})
    bus = await connect(settings_for(nats_url), name="test-lossy", make_bus=TrapBus)
    assert isinstance(bus, TrapBus)
    lost = bus.trap("logs.*", "lose", on="publish")
    async with lab.worker(bus=bus):
        await lab.emit(due)
        await lab.ended(due)

        async def twice() -> bool:
            return len(await messages(lab, due)) == 2

        await until(twice)
    assert lost.reached.is_set()
    assert [[line.n for line in told.lines] for told in await messages(lab, due)] == [[*range(1, 8)]] * 2


async def test_killed_between_storing_lines_and_hearing_so(lab: Lab, tmp_path: Path) -> None:
    """What was stored is kept; the take-over logs whole under its own claim."""
    go = tmp_path / "go"
    due = make_due("test_logs", {"lines": 5, "wait": str(go)}, pool="default")
    trap = Trap(subject="logs.*", on="publish", do="kill", when="after")
    traps = msgspec.json.encode([trap.as_text()]).decode()
    command = ("-m", "tests.harness.executor_main")
    async with executor_process(lab, tmp_path, *command, **{TRAPS_VARIABLE: traps}) as process:
        await lab.emit(due)
        assert await process.wait() == -signal.SIGKILL
    go.touch()
    async with lab.worker():
        await lab.ended(due, timeout=30)

        async def second() -> bool:
            return len({told.claim for told in await messages(lab, due)}) == 2

        await until(second)
    found = await messages(lab, due)
    assert [[line.n for line in told.lines] for told in found] == [[*range(1, 8)]] * 2
