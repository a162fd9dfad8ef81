"""What callers send of a run on demand, and of one that repeats another."""

from __future__ import annotations

import msgspec

from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_core.rules.task_limits import check_size
from gnomon_schemas.commands import RetryExecution, RunTask
from gnomon_schemas.limits import CONFIG_MAX, TRIGGER_DATA_MAX, is_run

__all__ = ["parse_retry", "parse_run"]


def parse_run(data: bytes) -> RunTask:
    """The body of `run`, with the sizes of its trigger data and overrides checked. Raises Refused."""
    run = parse_body(data, RunTask)
    errors = check_size(len(bytes(run.trigger_data)), "#/trigger_data", TRIGGER_DATA_MAX)
    if run.config is not None:
        errors += check_size(len(msgspec.json.encode(run.config)), "#/config", CONFIG_MAX)
    refuse(errors)
    return run


def parse_retry(data: bytes) -> RetryExecution:
    """The body of `retry_execution`, its run of a form that runs have. Raises Refused."""
    retry = parse_body(data, RetryExecution)
    if not is_run(retry.run):
        refuse(
            wrong("#/run", f"is {retry.run[:80]!r}; allowed: a slot's run, `r-<command id>`, or a backfill's")
        )
    return retry
