"""Worlds for long runs: the harness's own."""

from tests.harness.fixtures import broker, replicas, world

__all__ = ["broker", "replicas", "world"]
