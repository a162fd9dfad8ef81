"""A slot of which nothing is recorded: still to come, or due and on its way.

What is told of it is what is known now: the policies that will decide, and what would be in its way if nothing changed
until then.
"""

from __future__ import annotations

from gnomon_api.explaining.facts import Explanation, Facts, Step
from gnomon_api.explaining.past import Past, change_step
from gnomon_api.explaining.words import duration
from gnomon_core.timing import emission_ms
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.tasks import CatchUpPolicy, Overlap, Task

__all__ = ["explain_coming"]


def explain_coming(facts: Facts, at_ms: int, past: Past) -> Explanation:
    """The verdict on a slot of which nothing is recorded."""
    assert past.schedule is not None, "a slot has a schedule"
    due_ms = emission_ms(facts.task.task_id, at_ms // 1000, past.schedule)
    planned = due_ms > facts.now_ms
    schedule = past.step()
    steps = [schedule] if schedule else []
    revision = "its nominal time" if past.revision is None else f"of revision {past.revision}"
    steps.append(Step(at=format_instant(at_ms), what="slot", seq=None, detail=revision))
    if past.paused_by is not None:
        steps.append(change_step(past.paused_by, "paused"))
    later = (
        f"{duration(due_ms - at_ms)} later, by jitter"
        if due_ms > at_ms
        else "handed out then, and not before"
    )
    steps.append(Step(at=format_instant(due_ms), what="due", seq=None, detail=later))
    steps.append(_policy_step(facts.task))
    hindrances = _hindrances(facts)
    steps += [step for step, _ in hindrances]
    reason = _reason(facts, past, due_ms, hindrances[0][1] if hindrances else None)
    return Explanation(
        slot=format_instant(at_ms),
        verdict="planned" if planned else "pending",
        reason=reason,
        steps=tuple(steps),
    )


def _reason(facts: Facts, past: Past, due_ms: int, hindrance: str | None) -> str:
    planned, due = due_ms > facts.now_ms, format_instant(due_ms)
    if past.paused_by is not None:
        until = facts.task.paused_until
        if until is not None and instant_ms(until) <= due_ms:
            return f"It is still to come: it is due at {due}. The pause ends before it, at {until}."
        slot = "It is still to come, and" if planned else "It"
        return (
            f"{slot} falls into a pause that has not ended: slots of a pause are recorded as skipped when the "
            "task is resumed."
        )
    if planned:
        return f"It is still to come: it is due at {due}." + (f" But {hindrance}." if hindrance else "")
    return (
        f"It was due {duration(facts.now_ms - due_ms)} ago, and nothing is recorded about it yet"
        + (
            f": {hindrance}. "
            if hindrance
            else ": its outcome is not stored, or the read models have not got it. "
        )
        + "GET /scheduler shows who leads the task's shard and how far it is, GET /executors who could run it."
    )


def _policy_step(task: Task) -> Step:
    """The policies that will decide about it."""
    late = {
        CatchUpPolicy.LATEST: "of those the newest runs, and stands for the others",
        CatchUpPolicy.ALL: f"of those up to {task.catch_up.limit} run, one after another",
        CatchUpPolicy.SKIP: "those are missed",
    }[task.catch_up.policy]
    expires = task.catch_up.grace_seconds if task.expires_seconds is None else task.expires_seconds
    words = [
        f"fires by itself while less than {task.catch_up.after_seconds:g} s late; later ones are a backlog: {late}",
        f"missed beyond {duration(task.catch_up.grace_seconds * 1000)}",
        f"missed if nobody has claimed it {duration(expires * 1000)} after it is due",
        f"overlap is {task.overlap}",
    ]
    return Step(at=None, what="policy", seq=None, detail="; ".join(words))


def _hindrances(facts: Facts) -> list[tuple[Step, str]]:
    """What would be in its way if nothing changed until then: a step, and the same as half a sentence. The
    strongest first."""
    found: list[tuple[str, str]] = []
    found += _blackout(facts)
    pool = facts.pool
    if pool is not None and not pool.runnable:
        words = f"no live executor of pool {pool.name!r} runs type {facts.task.task_type!r} now: it would wait for one"
        found.append(("executors", words))
    if pool is not None and pool.paused:
        found.append(("pool", f"pool {pool.name!r} is paused: it would wait until that is resumed"))
    told = [
        (Step(at=None, what=what, seq=None, detail=words), words)
        for what, words in (*found, *_in_flight(facts))
    ]
    # What follows holds for every slot of the task, and is worth a step only.
    return told + [(Step(at=None, what=what, seq=None, detail=words), words) for what, words in _gates(facts)]


def _blackout(facts: Facts) -> list[tuple[str, str]]:
    touch = facts.touch
    if touch is None:
        return []
    until = format_instant(touch.until_s * 1000)
    words = {
        BlackoutAction.SKIP: f"calendar {touch.calendar_id!r} will skip it: the blackout lasts until {until}",
        BlackoutAction.DEFER: f"calendar {touch.calendar_id!r} will put it off: it runs when the blackout ends, "
        f"at {until}",
        BlackoutAction.FIRST_AFTER: f"calendar {touch.calendar_id!r} lets the last slot inside run when the blackout "
        f"ends, at {until}, for all of them",
    }[touch.action]
    return [("blackout", words)]


def _in_flight(facts: Facts) -> list[tuple[str, str]]:
    if not facts.in_flight or facts.task.overlap is Overlap.ALLOW:
        return []
    more = f" and {len(facts.in_flight) - 1} more" if len(facts.in_flight) > 1 else ""
    then = {
        Overlap.SKIP: "it is skipped",
        Overlap.QUEUE: "it waits, if none waits already",
        Overlap.QUEUE_ALL: "it waits its turn",
        Overlap.CANCEL_RUNNING: "that is cancelled, and it runs",
    }[facts.task.overlap]
    return [("in_flight", f"run {facts.in_flight[0]}{more} has not ended: if that is still so then, {then}")]


def _gates(facts: Facts) -> list[tuple[str, str]]:
    """Limits that it shares with others, however much of them is used now."""
    task, found = facts.task, []
    if facts.pool is not None and facts.pool.max_in_flight is not None:
        found.append(
            ("pool", f"at most {facts.pool.max_in_flight} of pool {facts.pool.name!r} may be in flight")
        )
    if task.concurrency_key is not None:
        found.append(
            ("key", f"at most {task.concurrency_limit} with key {task.concurrency_key!r} may be in flight")
        )
    if task.rate_limit is not None:
        found.append(("key", f"at most {task.rate_limit.count} start in {task.rate_limit.per_seconds:g} s"))
    return found
