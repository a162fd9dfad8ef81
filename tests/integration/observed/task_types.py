"""Task types that say something, and that need more than one attempt."""

from __future__ import annotations

import logging

import msgspec
import structlog

from gnomon import Context, Retry, task_type

__all__ = ["observed_failing", "observed_flaky", "observed_speaking", "observed_speaking_plainly"]


class Nothing(msgspec.Struct, frozen=True):
    """Takes no configuration."""


@task_type("observed_flaky")
async def observed_flaky(config: Nothing, ctx: Context) -> str:
    """Fail at the first attempt."""
    if ctx.attempt == 1:
        raise Retry(after=0.1, reason="not yet")
    return "done"


@task_type("observed_speaking")
async def observed_speaking(config: Nothing) -> str:
    """Log as applications do, by structlog and by the standard library."""
    structlog.get_logger().info("said.by_structlog")
    logging.getLogger("mine").warning("said.by_logging")
    return "said"


@task_type("observed_speaking_plainly")
def observed_speaking_plainly(config: Nothing) -> str:
    """The same in a thread."""
    structlog.get_logger().info("said.in_thread")
    return "said"


@task_type("observed_failing")
async def observed_failing(config: Nothing) -> str:
    """Fail at every attempt."""
    raise Retry(after=0.1, reason="never")
