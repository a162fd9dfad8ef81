"""Worlds for the tests of the scheduler over raw NATS."""

from tests.harness.fixtures import broker, replicas, world

__all__ = ["broker", "replicas", "world"]
