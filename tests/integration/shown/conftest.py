"""Worlds for what is shown end to end: real servers, real processes, each started afresh."""

import pytest

from tests.harness.fixtures import broker, replicas, world
from tests.harness.forking import SWITCH

__all__ = ["broker", "replicas", "world"]


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production, `python -m` and all that follows."""
    monkeypatch.setenv(SWITCH, "0")
