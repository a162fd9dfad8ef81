"""Worlds for the failures that Gnomon's rules come from: one test module per number."""

from tests.harness.fixtures import broker, replicas, world

__all__ = ["broker", "replicas", "world"]
