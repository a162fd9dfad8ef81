"""How long does a write over HTTP take, and how many a second does one api process answer?

    python benchmarks/http_writes.py [REQUESTS] [CLIENTS]

One api process on servers of its own; a responder stands in for the shards, so what is measured is the api, the
broker and the read models: command out, event stored, outcome back, rows written, response.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

import httpx
import uvloop

from gnomon_api.bootstrap import build
from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.embedded import EmbeddedNats, EmbeddedPostgres
from tests.integration.api.conftest import settings_for
from tests.integration.api.responder import Responder
from tests.servers import reachable_folder


async def main(requests: int, clients: int) -> None:
    with reachable_folder() as folder:
        postgres, nats = EmbeddedPostgres(folder / "postgres"), EmbeddedNats(folder / "nats")
        await asyncio.gather(postgres.start(), nats.start())
        try:
            await measure(nats.url, postgres.url_of("postgres"), requests, clients)
        finally:
            await asyncio.gather(postgres.stop(), nats.stop())


async def measure(nats_url: str, dsn: str, requests: int, clients: int) -> None:
    api = await build(settings_for(nats_url, dsn))
    await api.supervisor.start()
    bus = await connect(api.services.settings, name="responder")
    responder = Responder(bus)
    await responder.open()
    await api.services.projection.reached(0, within=1)
    async with httpx.AsyncClient(base_url=api.http.url, timeout=30) as http:

        async def create() -> float:
            begun = time.perf_counter()
            response = await http.post("/api/v1/tasks", json={"name": "n", "task_type": "echo"})
            assert response.status_code == 201, response.text
            return time.perf_counter() - begun

        for _ in range(20):
            await create()
        alone = sorted([await create() for _ in range(requests)])
        median, p95 = alone[requests // 2] * 1e3, alone[requests * 95 // 100] * 1e3
        print(f"one after another: median {median:.1f} ms, p95 {p95:.1f} ms")

        async def client() -> list[float]:
            return [await create() for _ in range(requests // clients)]

        begun = time.perf_counter()
        times = sorted(itertools.chain(*await asyncio.gather(*(client() for _ in range(clients)))))
        rate = len(times) / (time.perf_counter() - begun)
        print(f"{clients} clients: {rate:,.0f} writes/s, median {times[len(times) // 2] * 1e3:.1f} ms")
    await responder.close()
    await api.supervisor.stop()
    await bus.close()


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    uvloop.run(main(*(given + [400, 20][len(given) :])))
