"""What a user has used in a shard: counting `task.executed` into the register of that, each event once. Pure."""

from __future__ import annotations

import msgspec

from gnomon_scheduler.budget_registers import DAY_MS, UsageRegister
from gnomon_schemas.accounts import account_id_of, consumed_micros
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Executed
from gnomon_schemas.workless import WORKLESS

__all__ = ["counts", "day_of", "use"]


def day_of(at_ms: int) -> int:
    """The UTC day of an instant, in days since 1970."""
    return at_ms // DAY_MS


def counts(event: Executed, *, daily: bool) -> bool:
    """Whether an event is to be counted: it cost something, or its user's runs of a day are (`daily`).

    A reminder that was told is no run.
    """
    if event.user_id is None:
        return False
    return event.credits_consumed != 0 or (daily and event.task_type not in WORKLESS)


def use(reg: UsageRegister | None, seq: int, event: Executed) -> UsageRegister | None:
    """The register with the event at `seq` counted; None: it is in there already."""
    assert event.user_id is not None  # `counts` has said that it has one
    if reg is None:
        reg = UsageRegister(account=account_id_of(event.user_id), user=event.user_id)
    elif seq <= reg.folded:
        return None
    day, runs = reg.day, reg.runs
    started = day_of(instant_ms(event.started_at))
    if started > day:
        day, runs = started, 1
    elif started == day:
        runs += 1
    return msgspec.structs.replace(
        reg, folded=seq, used=reg.used + consumed_micros(event.credits_consumed), day=day, runs=runs
    )
