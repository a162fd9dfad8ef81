"""Worlds for what is shown end to end: real servers, real processes."""

from tests.harness.fixtures import broker, replicas, world

__all__ = ["broker", "replicas", "world"]
