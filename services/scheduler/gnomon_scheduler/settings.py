"""Settings of the scheduler, from the environment."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gnomon_core.runtime.settings import CommonSettings, Seconds, Setting

__all__ = ["SchedulerSettings"]


class SchedulerSettings(CommonSettings, frozen=True, kw_only=True):
    """What the scheduler needs besides the common settings."""

    title: ClassVar[str] = "The scheduler"

    cancel_grace: Annotated[Seconds, Setting(least=0, most=3600)] = 10.0
    """How long a running handler may take to answer a cancel before its execution is ended over its head."""
    catch_up_rate: Annotated[float, Setting(least=0, most=1_000_000)] = 100.0
    """How many late slots are handed out a second, over all shards together, each at its share; 0: as fast as they
    can be. Slots that are on time do not count, and always go first."""
    catch_up_approval: Annotated[int, Setting(least=0, most=1_000_000_000)] = 0
    """More late slots than this wait for an operator's word before any of them runs; 0: none ever does. Each shard
    judges by its own share of the number."""
    lateness_quiet: Annotated[Seconds, Setting(least=0, most=86400)] = 600.0
    """How long no slot of a task may have been late before `lateness_slo_recovered` is told, by the next one that
    starts in time."""
    sweep_every: Annotated[Seconds, Setting(least=0.1, most=3600)] = 60.0
    """How often each shard looks for what the ordinary path may have left behind."""
    janitor_every: Annotated[Seconds, Setting(least=1, most=86400)] = 60.0
    """How often events that nobody needs are purged."""
