"""The rules of the task domain, each under its number: most of them asked of the decisions themselves."""

from __future__ import annotations

import pytest

from gnomon_schemas.problems import Refused
from tests.harness.deciding import Deciding
from tests.harness.fixtures import broker, replicas, world
from tests.unit.scheduler.making import NOW_S

__all__ = ["EVERY_SECOND", "broker", "create", "problem_of", "replicas", "shard", "world"]

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


@pytest.fixture
def shard() -> Deciding:
    """A shard without a task."""
    return Deciding(NOW_S * 1000 + 500)


def create(shard: Deciding, **fields: object) -> None:
    """Make the task, as user u1."""
    shard.command("create", {"name": "n", "task_type": "echo", "overlap": "allow", **fields}, user="u1")


def problem_of(refusal: pytest.ExceptionInfo[Refused]) -> tuple[str, list[str]]:
    """Code and pointers of a refusal."""
    found = refusal.value.problem
    return found.code, [error.pointer for error in found.errors]
