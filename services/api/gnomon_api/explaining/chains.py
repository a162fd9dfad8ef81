"""An execution that has a chain: its events tell it, from the decision to its end."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from gnomon_api.explaining.facts import Explanation, Facts, ShardNow, Step
from gnomon_api.explaining.past import Past
from gnomon_api.explaining.words import duration, error_words, nth, outcome_words
from gnomon_api.readmodels.sections.executions import ExecutionRow
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import format_instant, instant_ms

__all__ = ["explain_chain", "lease_step", "projection_step"]


def explain_chain(facts: Facts, row: ExecutionRow) -> Explanation:
    """The verdict on an execution, and what led to it."""
    nominal_ms = facts.at_ms
    steps: list[Step] = []
    if nominal_ms is not None:
        schedule = Past(facts, nominal_ms // 1000).step()
        steps += [] if schedule is None else [schedule]
        steps.append(_slot_step(nominal_ms, row))
        steps += _policy_step(facts, row)
    steps += _events(facts)
    steps += projection_step(facts, row.seq)
    return Explanation(
        slot=None if nominal_ms is None else format_instant(nominal_ms),
        verdict=str(row.status),
        reason=_why(facts, row),
        steps=tuple(steps),
    )


def _slot_step(nominal_ms: int, row: ExecutionRow) -> Step:
    later_ms = 0 if row.due_at is None else instant_ms(format_instant(row.due_at)) - nominal_ms
    revision = "" if row.revision is None else f"of revision {row.revision}"
    jitter = f"due {duration(later_ms)} later, by jitter" if later_ms > 0 else ""
    detail = ", ".join(one for one in (revision, jitter) if one) or "its nominal time"
    return Step(at=format_instant(nominal_ms), what="slot", seq=None, detail=detail)


def _policy_step(facts: Facts, row: ExecutionRow) -> list[Step]:
    """What let a slot go that left no event of it: that is told by when its due was published."""
    first = facts.chain[0][1]
    if not isinstance(first, ev.Started) or row.due_published_at is None or row.due_at is None:
        return []
    late_ms = (row.due_published_at - row.due_at).total_seconds() * 1000
    policy = facts.task.catch_up
    if late_ms < policy.after_seconds * 1000:
        detail = f"nothing was in its way: handed out by itself, as less than {policy.after_seconds:g} s late"
    else:
        detail = f"late by {duration(late_ms)}: the catch-up policy ({policy.policy} now) let it run"
    return [Step(at=format_instant(row.due_published_at), what="policy", seq=None, detail=detail)]


def _events(facts: Facts) -> Iterator[Step]:
    """The chain's events, and before each start what handed the attempt out."""
    epoch: int | None = None
    for seq, event in facts.chain:
        told = event.epoch if isinstance(event, ev.ExecutionEvent | ev.SlotOutcome) else UNSET
        if told is not UNSET and told != epoch:
            epoch = told
            yield lease_step(told, facts.shard)
        if isinstance(event, ev.Started) and not event.takeovers and not event.released:
            yield _due_step(event)
        yield Step(at=event.occurred_at, what=ev.event_name(event), seq=seq, detail=_detail(event))


def lease_step(epoch: int, shard: ShardNow | None) -> Step:
    """Which leader of the shard decided: leaders are counted by epochs."""
    words = f"epoch {epoch} of the leaders"
    if shard is not None:
        words += f" of shard {shard.partition}"
        now = (
            f"{shard.leader} leads"
            if shard.epoch == epoch
            else f"{shard.leader} leads with epoch {shard.epoch}"
        )
        words += f" ({now} now)"
    return Step(at=None, what="lease", seq=None, detail=words)


def _due_step(event: ev.Started) -> Step:
    words = f"sequence {event.due_seq} of TASK_DUE, pool {event.pool}, priority {event.priority}"
    if event.due_published_at is UNSET:
        return Step(at=None, what="due", seq=None, detail=words)
    if event.attempt == 1:
        late_ms = instant_ms(event.due_published_at) - instant_ms(event.due_at)
        words += f"; published {duration(max(0, late_ms))} after it was due"
    return Step(at=event.due_published_at, what="due", seq=None, detail=words)


def projection_step(facts: Facts, seq: int) -> list[Step]:
    """How far the read models are: whoever reads the execution there sees it as it is told here, or not yet."""
    models = facts.read_models
    if models is None:
        return []
    if models.seq >= seq:
        words = f"the read models have it: they are at sequence {models.seq}"
    else:
        words = f"the read models do not have its last event yet: they are at sequence {models.seq}"
    return [Step(at=models.at, what="projection", seq=seq, detail=words)]


def _why(facts: Facts, row: ExecutionRow) -> str:
    last = facts.chain[-1][1]
    outcome = next((one for _, one in reversed(facts.chain) if isinstance(one, ev.SlotOutcome)), None)
    if outcome is not None:
        into = outcome.into if isinstance(outcome, ev.Coalesced) else None
        return outcome_words(str(row.status), outcome, outcome.reason, into, facts.task)
    if row.status == "queued":
        queued = next(one for _, one in reversed(facts.chain) if isinstance(one, ev.Queued))
        return f"It has not started: {_queued_words(queued)}."
    if row.status == "running":
        return f"It is running: attempt {row.attempt} on {row.executor}, and no result is recorded yet."
    if row.status == "retrying" and isinstance(last, ev.Retrying):
        return (
            f"Attempt {last.attempt} failed ({error_words(last.error)}); the next is due at {last.retry_at}."
        )
    return _end_words(row)


def _end_words(row: ExecutionRow) -> str:
    tries = f"at attempt {row.attempt}" if row.attempt > 1 else "at the first attempt"
    lost = sum(one.status == "lost" for one in row.attempts)
    after = f", after {lost} executor{'s' if lost > 1 else ''} had gone in the middle of it" if lost else ""
    error = error_words(row.error)
    if row.status == "completed":
        return f"It ran and completed {tries}{after}."
    if row.status == "timed_out":
        return f"It ran and was ended by its time limit {tries}{after}: {error or row.reason}."
    if row.status == "cancelled":
        return f"It was started, and cancelled{f' ({row.reason})' if row.reason else ''}{after}."
    given_up = f" It was given up: {row.dead_letter}." if row.dead_letter else ""
    return f"It ran and failed {tries}{after}: {error or row.reason}.{given_up}"


_WAITS = {
    "overlap": "an earlier execution of the task has not ended",
    "pool": "its pool is full or paused",
    "key": "others have all units of its key, or its rate is used up",
    "fair": "it is the turn of other users of its pool",
    "limit": "as many executions of its user are in flight as the account allows",
    "blackout": "a calendar puts it off",
    "backfill": "a backfill made it, and it waits for an executor",
    "retry": "it was asked for once more, and waits for an executor",
    "repair": "it had been lost and is made up for, and waits for an executor",
}


def _queued_words(event: ev.Queued) -> str:
    """Why an execution waits, or waited."""
    words = _WAITS.get(event.reason, "it was asked for, and waits for an executor")
    return words + (f" ({event.detail})" if isinstance(event.detail, str) else "")


def _detail(event: ev.Event) -> str:
    match event:
        case ev.Queued():
            return _queued_detail(event)
        case ev.Started():
            return _started_words(event)
        case ev.Retrying():
            return f"attempt {event.attempt} failed: {error_words(event.error)}; next attempt at {event.retry_at}"
        case ev.Executed():
            return _executed_words(event)
        case ev.Failed():
            return f"failure {event.failure_count} of the task, {event.consecutive_failures} in a row"
        case ev.DeadLettered():
            return f"given up: {event.reason}"
        case ev.Coalesced():
            return _with_detail(f"{event.reason}: run {event.into} stood in for it", event)
        case ev.SlotOutcome():
            return _with_detail(event.reason, event)
        case _:
            return ""


def _with_detail(words: str, event: ev.SlotOutcome) -> str:
    return f"{words}: {event.detail}" if isinstance(event.detail, str) else words


def _queued_detail(event: ev.Queued) -> str:
    who = f" by {event.user_id}" if event.user_id else ""
    match event.reason:
        case "overlap":
            words = "waits for an earlier execution to end"
        case "pool" | "key" | "fair" | "limit" | "blackout":
            words = f"waits: {_WAITS[event.reason]}"
        case "backfill":
            words = f"asked for by a backfill{who}"
        case "repair":
            words = "made up for: it had been lost"
        case "retry":
            words = (
                f"asked for once more{who}, of {event.retry_of}"
                if event.retry_of
                else f"asked for once more{who}"
            )
        case _:
            words = f"asked for{who}"
    return words + (f" ({event.detail})" if isinstance(event.detail, str) else "")


def _started_words(event: ev.Started) -> str:
    words = f"attempt {event.attempt} on {event.executor}"
    if event.attempt == 1 and not event.takeovers:
        words += f", {duration(max(0, instant_ms(event.started_at) - instant_ms(event.due_at)))} after due"
        if event.due_published_at is not UNSET:
            queued_ms = instant_ms(event.started_at) - instant_ms(event.due_published_at)
            words += f", {duration(max(0, queued_ms))} of it in the queue"
    if event.takeovers:
        words += f", taken over for the {nth(event.takeovers)} time from an executor that had gone"
    return words + (", and given back as the executor stopped" if event.released else "")


def _executed_words(event: ev.Executed) -> str:
    words = f"{event.status.replace('_', ' ')} after {duration(event.duration_ms)}, attempt {event.attempt}"
    words += f" on {event.executor}" if event.executor else ", recorded by the scheduler"
    if event.reason:
        words += f" ({event.reason})"
    return words + (f": {error_words(event.error)}" if event.error is not None else "")
