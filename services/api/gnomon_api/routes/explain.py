"""Why a slot ran or did not, over HTTP."""

from __future__ import annotations

from typing import Any, NoReturn

from litestar import get
from litestar.params import FromPath

from gnomon_api.explaining import explain
from gnomon_api.explaining.reading import ExplanationFacts
from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    caller,
    checked_id,
    execution_parts,
    instant_param,
    json_response,
    services,
)
from gnomon_api.routes.commands import no_params
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["EXPLAIN_ROUTES", "explain_task"]


@get("/tasks/{task_id:str}/explain")
async def explain_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Why a slot ran or did not: the one `at` an instant, or a run by its name; else the latest execution."""
    no_params(request, "at", "run")
    api, who = services(request), caller(request)
    checked_id(task_id)
    at_ms, run = instant_param(request, "at"), request.query_params.get("run")
    if at_ms is not None and run is not None:
        _refuse("run", "excludes at: ask for an instant or for a run")
    facts = ExplanationFacts(api.database, api.tasks, api.calendars, api.bus, api.clock, api.cluster)
    if at_ms is not None:
        found = await facts.of_instant(task_id, at_ms, who)
    elif run is not None:
        found = await facts.of_run(task_id, _run(task_id, run), who)
    else:
        found = await facts.of_latest(task_id, who)
    return json_response(explain(found))


EXPLAIN_ROUTES: list[Any] = [explain_task]


def _run(task_id: str, text: str) -> str:
    """The run that is meant: by its name, or by the id of its execution."""
    if "." in text:
        of_task, run = execution_parts(text)
        if of_task != task_id:
            _refuse("run", f"{text[:80]!r} is an execution of task {of_task!r}; allowed: one of {task_id!r}")
        return run
    return execution_parts(f"{task_id}.{text}")[1]


def _refuse(name: str, message: str) -> NoReturn:
    raise Refused(
        Code.INVALID,
        f"{name}: {message}",
        FieldError(pointer=f"#/{name}", code=Code.INVALID, message=message),
    )
