"""One world for all scenarios: scheduler, executor and api as processes of their own."""

from tests.integration.policies.conftest import broker, http, replicas, running, world

__all__ = ["broker", "http", "replicas", "running", "world"]
