"""A task's life against a model of it, on real servers: commands over NATS, leaders that die, rows in Postgres."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.fixtures import broker, replicas
from tests.harness.world import World
from tests.property.life import Life
from tests.property.life_on_servers import ShardOnServers, read_row

__all__ = ["broker", "replicas"]

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

_LIVES = 4
_LIVES_A_SECOND = 0.5
"""In the long run, by `GNOMON_CHAOS_SECONDS`."""


class LifeOnServers(Life):
    """The same life, led by a shard on a broker."""

    seconds_at_once = 4

    world: World
    dsn: str
    loop: asyncio.AbstractEventLoop
    ended_ms = 0

    def make_shard(self) -> ShardOnServers:
        """A task of its own, later than the one before."""
        self.on_servers = ShardOnServers(self.world, self.loop, type(self).ended_ms)
        return self.on_servers

    def _after(self) -> None:
        super()._after()
        if self.model.made:
            out = {run for run, where in self.model.flights.items() if where == "out"}
            self.on_servers.wait_for_due(out)

    def teardown(self) -> None:
        """Besides what holds of every life: Postgres tells the same."""
        try:
            super().teardown()
            if self.model.made:
                self._compare_rows()
        finally:
            type(self).ended_ms = self.on_servers.close()

    def _compare_rows(self) -> None:
        reading = read_row(self.world, self.dsn, self.on_servers.task_id)
        row = asyncio.run_coroutine_threadsafe(reading, self.loop).result(60)
        model = self.model
        assert row["micros"] == model.micros
        assert round(row["credits"] * 1_000_000) == model.micros
        assert {name: row[name] for name in row.keys() - {"micros", "credits"}} == {
            "base_status": model.status,
            "version": model.version,
            "deleted": model.deleted,
            "run_count": model.runs,
            "success_count": model.successes,
            "failure_count": model.failures,
            "consecutive_failures": model.in_a_row,
            "in_flight": 0,
        }


async def _live(broker: EmbeddedNats, dsn: str, lives: int, steps: int) -> None:
    async with World(broker, partitions=1) as world:
        await world.api(dsn, GNOMON_AUDIT_EVERY="0s")
        LifeOnServers.world, LifeOnServers.dsn = world, dsn
        LifeOnServers.loop = asyncio.get_running_loop()
        chosen = settings(
            max_examples=lives,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(run_state_machine_as_test, LifeOnServers, settings=chosen)


@pytest.mark.timeout(180)
async def test_a_few_lives(broker: EmbeddedNats, postgres_url: str) -> None:
    """Statuses, versions, counts, credits and what is handed out are the model's, and so are the rows."""
    await _live(broker, postgres_url, _LIVES, 10)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
async def test_many_lives(broker: EmbeddedNats, postgres_url: str) -> None:
    """The same for longer."""
    seconds = float(os.environ.get("GNOMON_CHAOS_SECONDS") or 120)
    await _live(broker, postgres_url, max(_LIVES, round(seconds * _LIVES_A_SECOND)), 25)
