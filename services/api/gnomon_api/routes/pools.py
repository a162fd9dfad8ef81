"""Pools over HTTP: what there is, and how much of it may be in flight."""

from __future__ import annotations

from typing import Any

from litestar import get, patch
from litestar.params import FromPath

from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    body_of,
    checked_id,
    json_response,
    services,
)
from gnomon_api.pool_views import PoolViews
from gnomon_api.routes.commands import identity_of, no_params, pending_response, send
from gnomon_core.rules.pool_input import parse_pool
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas.problems import Code, Refused

__all__ = ["POOL_ROUTES"]


@get("/pools")
async def list_pools(request: HttpRequest) -> HttpResponse:
    """Every pool that is set, that an executor works for, or that a task type names."""
    no_params(request)
    api = services(request)
    try:
        pools = await PoolViews(api.database, api.cluster).list()
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not answer: {error}") from error
    return json_response({"items": pools, "next_cursor": None})


@patch("/pools/{pool:str}")
async def patch_pool(request: HttpRequest, pool: FromPath[str]) -> HttpResponse:
    """Change how much of a pool may be in flight at a time, pause it or resume it. What runs already goes on."""
    no_params(request)
    checked_id(pool, "pool")
    body = body_of(await request.body())
    parse_pool(body)
    ids = await identity_of(request, body)
    outcome = await send(request, "update", pool, body or b"{}", ids, kind="pool")
    if outcome is None:
        return pending_response(ids)
    assert outcome.pool is not None, "a command to a pool is answered with the pool"
    return json_response(outcome.pool, headers={"ETag": f'"{outcome.pool.version}"'})


POOL_ROUTES: list[Any] = [list_pools, patch_pool]
