"""A task's whole life against a model of it, by the scheduler's decisions without servers: see `life`."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.property.life import Life

TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
