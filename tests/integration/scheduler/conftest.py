"""Worlds for the tests of the scheduler over raw NATS."""

from tests.harness.fixtures import broker, replicas, world
from tests.integration.scheduler.led import led

__all__ = ["broker", "led", "replicas", "world"]
