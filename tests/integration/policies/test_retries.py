"""Retries through scheduler and executor: when the next attempt comes, how many there are, and what is recorded.

No test here says that something came quickly: an attempt must not come too early, and its instant must be the one that
the policy and the handler's end give, whatever else the machine does.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import DeadLettered, Executed, Failed, Retrying, Started
from tests.harness.commands import fresh_id
from tests.harness.events import Seen
from tests.harness.ledger import audit
from tests.harness.world import World, now_ms
from tests.integration.policies.task_types import marks

FAILING = ("fail",)


async def _run(world: World, steps: tuple[str, ...], trace: str = "", **spec: Any) -> list[Seen]:
    """Run a scripted task once; the chain of the run, which has ended."""
    task = fresh_id("t")
    config = {"steps": steps, "trace": trace}
    await world.commands.create(task, task_type="policy_scripted", config=config, **spec)
    run = (await world.commands.ok("run", task))["execution"]["run"]
    executed = (await world.events.one("executed", task, run=run)).event
    assert isinstance(executed, Executed)
    if executed.status in {"failed", "timed_out"}:
        await world.events.one("failed", task, run=run)
        await world.events.catch_up()
    found = audit(world.events.of(task_id=task), now_ms())
    assert found.settled, found
    return [seen for seen in world.events.all if seen.task_id == task and seen.run == run]


def _delays(chain: list[Seen]) -> list[tuple[float, float]]:
    """For each attempt that is repeated the bounds, in seconds, between which its delay lies: the policy's delay counts
    from the handler's end, which is after the attempt's start and before the event is recorded."""
    found = []
    for seen in chain:
        if isinstance(event := seen.event, Retrying):
            retry_ms = instant_ms(event.retry_at)
            earliest, latest = (
                retry_ms - instant_ms(event.occurred_at),
                retry_ms - instant_ms(event.started_at),
            )
            found.append((earliest / 1000, latest / 1000))
    return found


def _within(delays: list[tuple[float, float]], expected: list[float]) -> bool:
    """Whether each expected delay lies within its bounds, to the millisecond to which instants are written."""
    return len(delays) == len(expected) and all(
        least - 0.002 <= wanted <= most + 0.002
        for (least, most), wanted in zip(delays, expected, strict=True)
    )


def _never_early(chain: list[Seen]) -> bool:
    """Whether no attempt began before the instant that the one before it told, nor was recorded before."""
    repeats = [seen.event for seen in chain if isinstance(seen.event, Retrying)]
    starts = [seen for seen in chain if isinstance(seen.event, Started)][1:]
    return all(
        isinstance(start.event, Started)
        and instant_ms(start.event.started_at) >= instant_ms(repeat.retry_at)
        and start.event.attempt == repeat.attempt + 1
        for repeat, start in zip(repeats, starts, strict=True)
    )


POLICIES: dict[str, tuple[dict[str, Any], list[float]]] = {
    "constant": ({"backoff": "constant", "initial_seconds": 0.3}, [0.3, 0.3, 0.3]),
    "linear": ({"backoff": "linear", "initial_seconds": 0.2}, [0.2, 0.4, 0.6]),
    "exponential": ({"backoff": "exponential", "initial_seconds": 0.1, "factor": 3.0}, [0.1, 0.3, 0.9]),
    "capped": ({"backoff": "exponential", "initial_seconds": 0.2, "max_seconds": 0.3}, [0.2, 0.3, 0.3]),
}
"""Policies, and the seconds that they put between four attempts."""


async def test_each_attempt_comes_after_the_delay_of_its_backoff(running: World) -> None:
    """Four attempts, all of which fail: three delays as the backoff names them, then one result and a dead letter."""

    async def check(name: str) -> None:
        policy, expected = POLICIES[name]
        chain = await _run(running, FAILING, retry={"max_attempts": 4, "jitter": 0, **policy})
        assert [seen.name for seen in chain] == [
            *["queued", *["started", "retrying"] * 3, "started", "executed"],
            *["failed", "dead_lettered"],
        ], name
        assert _within(_delays(chain), expected), (name, _delays(chain))
        assert _never_early(chain), name
        executed, failed, dead = (seen.event for seen in chain[-3:])
        assert isinstance(executed, Executed)
        assert (executed.status, executed.attempt) == ("failed", 4)
        assert executed.error is not None
        assert executed.error.message == "attempt 4 fails as told"
        assert isinstance(failed, Failed)
        assert failed.consecutive_failures == 1, "four attempts are one failure"
        assert isinstance(dead, DeadLettered)
        assert dead.reason == "retries_exhausted"

    await asyncio.gather(*(check(name) for name in POLICIES))


async def test_jitter_spreads_the_delays_within_its_share(running: World) -> None:
    """Half of the delay up or down, drawn anew for each attempt."""
    retry = {"max_attempts": 4, "backoff": "constant", "initial_seconds": 0.4, "jitter": 0.5}
    chains = await asyncio.gather(*(_run(running, FAILING, retry=retry) for _ in range(4)))
    delays = [delay for chain in chains for delay in _delays(chain)]
    assert len(delays) == 12
    assert all(least <= 0.602 and most >= 0.198 for least, most in delays), delays
    assert all(_never_early(chain) for chain in chains)
    told = [seen.event for chain in chains for seen in chain if isinstance(seen.event, Retrying)]
    waits = {instant_ms(event.retry_at) - instant_ms(event.occurred_at) for event in told}
    assert len(waits) > 6, f"hardly any spread: {sorted(waits)}"


async def test_an_attempt_that_succeeds_ends_the_retries_and_the_failures(running: World) -> None:
    """The third attempt returns: completed, nothing failed, and every attempt had the same key."""
    chain = await _run(
        running, ("fail", "fail", "ok"), retry={"max_attempts": 9, "initial_seconds": 0.05, "jitter": 0}
    )
    assert [seen.name for seen in chain] == ["queued", *["started", "retrying"] * 2, "started", "executed"]
    executed = chain[-1].event
    assert isinstance(executed, Executed)
    assert (executed.status, bytes(executed.result)) == ("completed", b'"attempt 3"')


async def test_a_handler_that_says_when_goes_before_the_policy(running: World, tmp_path: Path) -> None:
    """`Retry(after=…)` is waited for and not the policy's hour; `DoNotRetry` ends it with attempts left, which is no
    dead letter: nothing was used up."""
    trace = tmp_path / "trace"
    chain = await _run(
        running,
        ("again 0.3", "again 0", "never"),
        str(trace),
        retry={"max_attempts": 9, "backoff": "constant", "initial_seconds": 3600},
    )
    assert [seen.name for seen in chain] == [
        *["queued", *["started", "retrying"] * 2, "started", "executed", "failed"]
    ]
    assert _within(_delays(chain), [0.3, 0.0]), _delays(chain)
    assert _never_early(chain)
    executed = chain[-2].event
    assert isinstance(executed, Executed)
    assert (executed.status, executed.reason) == ("failed", "do_not_retry")
    assert {mark.key for mark in marks(trace)} == {executed.execution_id}


async def test_retry_asks_for_no_more_attempts_than_the_policy_has(running: World) -> None:
    """`Retry(after=…)` at the last attempt fails."""
    chain = await _run(running, ("again 0.01",), retry={"max_attempts": 2, "jitter": 0})
    assert [seen.name for seen in chain] == [
        *["queued", "started", "retrying", "started", "executed", "failed", "dead_lettered"]
    ]


async def test_an_attempt_has_its_time_and_the_next_one_its_own(running: World, tmp_path: Path) -> None:
    """`timeout_seconds` ends an attempt and its handler, and counts as a failure that is tried again."""
    trace = tmp_path / "trace"
    chain = await _run(
        running,
        ("hang 60",),
        str(trace),
        timeout_seconds=0.6,
        retry={"max_attempts": 2, "backoff": "constant", "initial_seconds": 0.1, "jitter": 0},
    )
    assert [seen.name for seen in chain] == [
        *["queued", "started", "retrying", "started", "executed", "failed", "dead_lettered"]
    ]
    repeat, executed = chain[2].event, chain[4].event
    assert isinstance(repeat, Retrying)
    assert (repeat.status, repeat.error.type) == ("timed_out", "Timeout")
    assert isinstance(executed, Executed)
    assert (executed.status, executed.reason, executed.attempt) == ("timed_out", "timeout", 2)
    assert [mark.word for mark in marks(trace)] == ["begin", "cancelled"] * 2
    assert min(repeat.duration_ms, executed.duration_ms) >= 600, "cut off before its time"


async def test_all_attempts_together_have_their_time(running: World, tmp_path: Path) -> None:
    """`total_timeout_seconds` counts from the first start: it cuts off the attempt that is under way then, and after
    that there is none, however many the policy allows."""
    trace = tmp_path / "trace"
    retry = {"max_attempts": 100, "backoff": "constant", "initial_seconds": 0.2, "jitter": 0}
    chain = await _run(running, ("fail", "hang 60"), str(trace), total_timeout_seconds=1.5, retry=retry)
    executed = chain[-2].event
    assert isinstance(executed, Executed)
    assert (executed.status, executed.reason) == ("timed_out", "total_timeout")
    assert executed.attempt == 2
    first = next(seen.event for seen in chain if isinstance(seen.event, Started))
    assert instant_ms(executed.completed_at) - instant_ms(first.started_at) >= 1500
    repeats = [seen.event for seen in chain if isinstance(seen.event, Retrying)]
    assert {event.first_started_at for event in repeats} == {first.started_at}
    assert all(instant_ms(event.retry_at) < instant_ms(first.started_at) + 1500 for event in repeats)


async def test_no_attempt_is_promised_beyond_the_time_of_all(running: World) -> None:
    """A retry that would begin after the end of all is not made: the failure is the result, at once."""
    chain = await _run(
        running, FAILING, total_timeout_seconds=5, retry={"max_attempts": 9, "initial_seconds": 60}
    )
    assert [seen.name for seen in chain] == ["queued", "started", "executed", "failed"]
    executed = chain[-2].event
    assert isinstance(executed, Executed)
    assert (executed.status, executed.attempt) == ("failed", 1)
