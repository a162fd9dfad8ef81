"""What callers send of a run on demand."""

from __future__ import annotations

import msgspec

from gnomon_core.rules.decoding import parse_body, refuse
from gnomon_core.rules.task_limits import check_size
from gnomon_schemas.commands import RunTask
from gnomon_schemas.limits import CONFIG_MAX, TRIGGER_DATA_MAX

__all__ = ["parse_run"]


def parse_run(data: bytes) -> RunTask:
    """The body of `run`, with the sizes of its trigger data and overrides checked. Raises Refused."""
    run = parse_body(data, RunTask)
    errors = check_size(len(bytes(run.trigger_data)), "#/trigger_data", TRIGGER_DATA_MAX)
    if run.config is not None:
        errors += check_size(len(msgspec.json.encode(run.config)), "#/config", CONFIG_MAX)
    refuse(errors)
    return run
