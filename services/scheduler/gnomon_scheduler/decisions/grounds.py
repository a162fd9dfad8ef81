"""What a decision rested on, in words, for the event that records it.

The reason names the rule; the ground says what it met: which runs were in the way, how long the grace was, which key.
Settings may have changed by the time somebody asks, so they are told as they were.
"""

from __future__ import annotations

from gnomon_scheduler.decisions.overlapping import in_the_way
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.limits import ENTRIES_PER_TASK
from gnomon_schemas.tasks import TaskSpec

__all__ = [
    "account_detail",
    "crowd_detail",
    "equal_run_detail",
    "hindered_by",
    "key_detail",
    "runs_used_up",
    "waits_for",
]


def hindered_by(task: TaskState, flight: Flight | None = None) -> str:
    """Which runs of the task were in the way of a slot, but for the slot's own `flight`, and the policy by which that
    matters."""
    others = [other.run for other in in_the_way(task) if other is not flight]
    overlap = f"overlap is {task.reg.spec.overlap}"
    if not others:
        return overlap
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"run {others[0]}{more} had not ended; {overlap}"


def account_detail(task: TaskState, reason: str) -> str:
    """What the credits or limits of the task's user did not allow."""
    user, price = task.reg.user_id, task.reg.spec.credits_per_run
    if reason == "credits" and price == 0:
        return f"user {user!r} has used more credits than were given"
    if reason == "credits":
        return f"user {user!r} has no {price:g} credits left"
    return f"user {user!r} has no account, or as many executions today or in flight as the account allows"


def crowd_detail(task: TaskState) -> str:
    """How many executions of the task there were already."""
    return f"{len(task.flights)} executions of the task had not ended; at most {ENTRIES_PER_TASK} may wait"


def runs_used_up(spec: TaskSpec) -> str:
    """The number of runs that the schedule allows."""
    assert spec.schedule is not None  # only a schedule has it
    return f"max_runs of the schedule is {spec.schedule.max_runs}, and so many slots were handed out"


def equal_run_detail(spec: TaskSpec, run: str) -> str:
    """Which run on demand had the same input, and for how long that keeps equal ones away."""
    return f"run {run} was given the same; unique_for_seconds is {spec.unique_for_seconds:g}"


def key_detail(spec: TaskSpec) -> str:
    """The key and the rate that a slot did not get a unit of."""
    told = []
    if spec.concurrency_key is not None:
        told.append(f"key {spec.concurrency_key!r} had no unit of its {spec.concurrency_limit} free")
    if spec.rate_limit is not None:
        told.append(f"the rate is {spec.rate_limit.count} starts in {spec.rate_limit.per_seconds:g} s")
    if not told:
        told.append(f"tasks of type {spec.task_type!r} run one at a time, and one of them was in flight")
    return "; ".join([*told, f"overlap is {spec.overlap}"])


def waits_for(task: TaskState, reason: str, pool: str) -> str | None:
    """What a slot waits for that was queued for this reason; None where the reason says it all."""
    spec = task.reg.spec
    match reason:
        case "overlap":
            return hindered_by(task)
        case "pool":
            return f"pool {pool!r} is paused, or as much of it is in flight as may be"
        case "key":
            return (
                _waits_without_key(spec)
                if spec.concurrency_key is None
                else (f"a unit of key {spec.concurrency_key!r} (of {spec.concurrency_limit})")
            )
        case "limit":
            return (
                f"an execution of its user {task.reg.user_id!r} to end: the account allows no more in flight"
            )
        case "fair":
            return f"others than its user {task.reg.user_id!r} have their turn in pool {pool!r}"
    return None


def _waits_without_key(spec: TaskSpec) -> str:
    if spec.rate_limit is not None:
        return "a unit of its key, or room in its rate"
    return f"that no other task of type {spec.task_type!r} is in flight: they run one at a time"
