"""A task type that logs, for `gnomon logs`."""

from __future__ import annotations

import asyncio
from typing import Any

from gnomon import Context, Retry, task_type


@task_type("talk")
async def talk(config: dict[str, Any], ctx: Context) -> dict[str, int]:
    """Log a few lines; fail once where asked to."""
    ctx.log.debug("begun")
    ctx.log.info("first\nof two lines", colour="\x1b[31mred")
    if config.get("again") and ctx.attempt == 1:
        ctx.log.warning("once more")
        raise Retry(after=0.05)
    for number in range(config.get("slow", 0)):
        ctx.log.info("working", number=number)
        await ctx.progress((number + 1) / config["slow"], f"page {number + 1}")
        await asyncio.sleep(0.2)
    ctx.log.error("over", attempt=ctx.attempt)
    return {"pages": config.get("slow", 0)}
