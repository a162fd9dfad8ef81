"""Settings of an executor: those of every process, and its own."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gnomon_core.runtime.guarded_http import parse_networks
from gnomon_core.runtime.settings import CommonSettings, Seconds, Setting
from gnomon_schemas.limits import is_id

__all__ = ["ExecutorSettings"]


def _pools(names: tuple[str, ...]) -> bool:
    return all(is_id(name) for name in names)


def _networks(text: str) -> bool:
    try:
        parse_networks(text)
    except ValueError:
        return False
    return True


class ExecutorSettings(CommonSettings, frozen=True, kw_only=True):
    """What an executor needs."""

    title: ClassVar[str] = "Executor"

    tasks: Annotated[tuple[str, ...], Setting(variable="GNOMON_EXECUTOR_TASKS")] = ()
    """Modules with task types, besides the built-in ones and those of installed packages. The working
    directory is on the import path."""
    pools: Annotated[
        tuple[str, ...],
        Setting(
            variable="GNOMON_EXECUTOR_POOLS",
            check=_pools,
            allowed="ids with commas, each 1 to 64 of A-Z a-z 0-9 _ -",
        ),
    ] = ()
    """Pools to take work of; empty: those of the task types that are loaded."""
    concurrency: Annotated[int, Setting(variable="GNOMON_EXECUTOR_CONCURRENCY", least=1, most=10_000)] = 100
    """How many executions run at a time in this process. No more than this is ever taken from the queue."""
    takeover_limit: Annotated[int, Setting(least=0, most=1000)] = 3
    """How often one attempt is taken over from executors that died under it before it ends as a crash
    loop."""
    drain_grace: Annotated[Seconds, Setting(least=0, most=86400)] = 30.0
    """How long a stopping executor lets running handlers finish before it cancels them and gives their work
    back."""
    http_allow: Annotated[
        str, Setting(check=_networks, allowed="networks with commas, such as 10.0.0.0/8,::1/128")
    ] = ""
    """Networks that `http_request` and the heartbeats of tasks may reach besides public addresses."""
