"""How the system stands: task types, schedulers, executors; and this process's own health."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath

from gnomon_api.database import DatabaseAway, DatabaseState
from gnomon_api.http_io import HttpRequest, HttpResponse, caller, checked_id, json_response, services
from gnomon_api.queries import parse_limit
from gnomon_api.routes.commands import no_params
from gnomon_api.services import ApiServices
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.health import readiness
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.problems import Code, Refused

__all__ = ["HEALTH_ROUTES", "STATUS_ROUTES"]


@get("/task-types")
async def list_task_types(request: HttpRequest) -> HttpResponse:
    """Every type that executors have announced, with its JSON Schema."""
    no_params(request)
    return json_response({"items": services(request).cluster.task_types(), "next_cursor": None})


@get("/task-types/{task_type:str}/misfits")
async def list_misfits(request: HttpRequest, task_type: FromPath[str]) -> HttpResponse:
    """The tasks that may still run and whose config does not fit the schema that their type has now, and why. Of other
    users' only an admin hears. One request looks at 20,000 tasks at the most, so a page may be empty and not the last.
    """
    no_params(request, "limit", "cursor")
    checked_id(task_type, "task_type")
    limit, cursor = parse_limit(request.query_params.get("limit")), request.query_params.get("cursor")
    return json_response(await services(request).misfits.page(task_type, limit, cursor, caller(request)))


@get("/scheduler")
async def read_scheduler(request: HttpRequest) -> HttpResponse:
    """Shards, leaders, epochs, lag, watermarks, next fires."""
    no_params(request)
    try:
        return json_response(await services(request).cluster.schedulers())
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not answer: {error}") from error


@get("/executors")
async def read_executors(request: HttpRequest) -> HttpResponse:
    """Executors, pools, load."""
    no_params(request)
    try:
        return json_response(await services(request).cluster.executors())
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not answer: {error}") from error


@get("/livez")
async def livez() -> HttpResponse:
    """The process runs its event loop; nothing more is said."""
    return json_response({"status": "ok"})


@get("/readyz")
async def readyz(request: HttpRequest) -> HttpResponse:
    """Whether requests may be sent here. Without Postgres they may: writes work, and reads say 503."""
    api = services(request)
    ready, said = await readiness(api.required)
    _, besides = await readiness(api.degraded)
    return json_response(
        {"status": "ready" if ready else "not ready", "checks": {**said, **besides}}, 200 if ready else 503
    )


@get("/health")
async def health(request: HttpRequest) -> HttpResponse:
    """Everything that this process knows of itself, for people."""
    api = services(request)
    ready, said = await readiness(api.required)
    whole, besides = await readiness(api.degraded)
    return json_response(
        {
            "status": "ok" if ready and whole else "degraded" if ready else "not ready",
            "version": api.version,
            "time": format_instant(api.clock.now_ms()),
            "checks": {**said, **besides},
            "database": await _database(api),
            "read_models": {"sequence": api.projection.sequence, "time": api.projection.time},
            "event_readers": api.hub.readers,
        }
    )


async def _database(api: ApiServices) -> DatabaseState | None:
    """What the database says of itself; None while it is away, which the checks tell in words."""
    try:
        return await api.database.told()
    except DatabaseAway:
        return None


@get("/metrics")
async def metrics(request: HttpRequest) -> HttpResponse:
    """Counts, in the Prometheus text format."""
    return HttpResponse(services(request).meter.render(), media_type="text/plain; version=0.0.4")


STATUS_ROUTES = [list_task_types, list_misfits, read_scheduler, read_executors]
HEALTH_ROUTES = [livez, readyz, health, metrics]
