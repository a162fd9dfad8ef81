"""The ceiling over HTTP: a bare Litestar application under the same server, in a process of its own.

`POST /tasks` decodes JSON, publishes to a JetStream stream, waits for the acknowledgement, answers 201 with JSON.
`GET /tasks/{id}` reads one row of the read models by its key. Nothing is checked, traced or counted.

    GNOMON_NATS_URL=… GNOMON_DATABASE_URL=… GNOMON_HTTP_PORT=… python -m benchmarks.bare_http
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import asyncpg
import msgspec
import nats
import uvloop
from litestar import Litestar, get, post
from litestar.datastructures import State

from gnomon_api.http_server import HttpServer

__all__ = ["main"]


@get("/readyz")
async def ready() -> dict[str, str]:
    """Whether it answers."""
    return {"status": "ok"}


@post("/tasks")
async def create(data: dict[str, Any], state: State) -> dict[str, Any]:
    """One publish, one acknowledgement."""
    ack = await state.js.publish("bare_commands.create", msgspec.json.encode(data))
    return {**data, "seq": ack.seq}


@get("/tasks/{task_id:str}")
async def read(task_id: str, state: State) -> dict[str, Any]:
    """One row by its key."""
    row = await state.pool.fetchrow("select * from tasks where task_id = $1", task_id)
    return dict(row.items()) if row is not None else {}


async def main() -> None:
    """Serve until SIGTERM."""
    nc = await nats.connect(os.environ["GNOMON_NATS_URL"])
    pool = await asyncpg.create_pool(os.environ["GNOMON_DATABASE_URL"], min_size=2, max_size=10)
    app = Litestar(
        [ready, create, read],
        state=State({"js": nc.jetstream(), "pool": pool}),
        openapi_config=None,
        logging_config=None,
    )
    server = HttpServer(app, "127.0.0.1", int(os.environ["GNOMON_HTTP_PORT"]), on_stopping=lambda: None)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await server.start()
    await stopping.wait()
    await server.stop()
    await pool.close()
    await nc.close()


if __name__ == "__main__":
    uvloop.run(main())
