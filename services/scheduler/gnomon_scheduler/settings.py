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
    sweep_every: Annotated[Seconds, Setting(least=0.1, most=3600)] = 60.0
    """How often each shard looks for what the ordinary path may have left behind."""
    janitor_every: Annotated[Seconds, Setting(least=1, most=86400)] = 60.0
    """How often events that nobody needs are purged."""
