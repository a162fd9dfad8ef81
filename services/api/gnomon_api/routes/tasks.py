"""Tasks over HTTP."""

from __future__ import annotations

import msgspec
from litestar import delete, get, patch, post, put
from litestar.params import FromPath

from gnomon_api.http_io import (
    API,
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    checked_id,
    chosen_id,
    flag,
    instant_param,
    json_response,
    params_of,
    services,
)
from gnomon_api.routes.commands import identity_of, no_params, pending_response, send
from gnomon_api.task_details import TaskDetails
from gnomon_api.task_pasts import TaskPasts
from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.task_input import check_given, check_patch, parse_create
from gnomon_core.rules.templating import named_template
from gnomon_core.rules.transitions import wanted_status
from gnomon_core.runtime.holiday_loading import holidays_at_hand
from gnomon_schemas.commands import CancelTask, CompleteTask, DeleteTask, Outcome, PauseTask, ResumeTask
from gnomon_schemas.tasks import Task

__all__ = ["TASK_ROUTES", "make_task"]


@post("/tasks")
async def create_task(request: HttpRequest) -> HttpResponse:
    """Create a task; under an id of the caller's choice where the body names one. What a body with `template_id` leaves
    out comes from that template. With `?dry_run=true` nothing is stored, and the answer tells what would be."""
    return await make_task(request, body_of(await request.body()))


async def make_task(request: HttpRequest, body: bytes) -> HttpResponse:
    """What `create_task` answers for a body."""
    no_params(request, "dry_run")
    dry_run = flag(request, "dry_run")
    api = services(request)
    await holidays_at_hand([body])
    now_ms = api.clock.now_ms()
    # Whether a `once` lies in the past is for the shard's clock to say, not for this one.
    if named_template(body) is None:
        parse_create(body, now_ms=None, created_at_ms=now_ms, default_timezone=api.settings.timezone)
    else:
        # What is missing, and what does not fit, is for the shard to say: it knows the template.
        check_given(body, default_timezone=api.settings.timezone)
    chosen = chosen_id(body, "task_id")
    if dry_run:
        return json_response(await api.planner.create(body, chosen, caller(request)))
    ids = await identity_of(request, body, task_id=chosen or "")
    task_id = chosen or ids.object_id
    outcome = await send(request, "create", task_id, body, ids)
    if outcome is None:
        return pending_response(ids)
    made = outcome.created or (outcome.replayed and ids.keyed)
    return _task_response(outcome, 201 if made else 200, {"Location": f"{API}/tasks/{task_id}"})


@get("/tasks")
async def list_tasks(request: HttpRequest) -> HttpResponse:
    """A page of tasks."""
    return json_response(await services(request).tasks.list(params_of(request), caller(request)))


@get("/tasks/{task_id:str}")
async def read_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """One task; with `?at=`, as it was at a past instant, also where it was deleted since."""
    no_params(request, "at")
    checked_id(task_id)
    api, at_ms = services(request), instant_param(request, "at")
    if at_ms is not None:
        return json_response(
            await TaskPasts(api.database, api.tasks, api.clock).at(task_id, at_ms, caller(request))
        )
    task = await api.tasks.get(task_id, caller(request))
    detail = await TaskDetails(api.database, api.hub).of(task)
    return json_response(detail, headers=_etag(task))


@patch("/tasks/{task_id:str}")
async def patch_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Change a task by a merge patch. With `?dry_run=true` nothing is stored, and the answer tells what would be."""
    return await _change(request, checked_id(task_id))


@put("/tasks/{task_id:str}")
async def put_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Change a task by a merge patch: PUT merges too, so that clients need not know every field. With `?dry_run=true`
    nothing is stored, and the answer tells what would be."""
    return await _change(request, checked_id(task_id))


@delete("/tasks/{task_id:str}", status_code=200)
async def delete_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Delete a task; what is in flight is cancelled."""
    no_params(request)
    ids = await identity_of(request, b"")
    outcome = await send(request, "delete", checked_id(task_id), msgspec.json.encode(DeleteTask()), ids)
    return pending_response(ids) if outcome is None else _empty_response()


@post("/tasks/{task_id:str}/pause", status_code=200)
async def pause_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Pause a task: no slot fires until it is resumed."""
    return await _act(request, "pause", task_id, PauseTask)


@post("/tasks/{task_id:str}/resume", status_code=200)
async def resume_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Resume a paused task."""
    return await _act(request, "resume", task_id, ResumeTask)


@post("/tasks/{task_id:str}/cancel", status_code=200)
async def cancel_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """End a task for good; what is in flight is cancelled."""
    return await _act(request, "cancel", task_id, CancelTask)


@post("/tasks/{task_id:str}/complete", status_code=200)
async def complete_task(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Call a task done: no slot fires any more; what is in flight goes on."""
    return await _act(request, "complete", task_id, CompleteTask)


async def _act(request: HttpRequest, verb: str, task_id: str, kind: type[msgspec.Struct]) -> HttpResponse:
    """A command whose body is its payload."""
    no_params(request)
    checked_id(task_id)
    body = body_of(await request.body())
    parse_body(body, kind)
    ids = await identity_of(request, body, task_id=task_id)
    outcome = await send(request, verb, task_id, body or b"{}", ids)
    return pending_response(ids) if outcome is None else _task_response(outcome)


async def _change(request: HttpRequest, task_id: str) -> HttpResponse:
    """A merge patch, a `status` in it included: what that asks for is the shard's to say."""
    no_params(request, "dry_run")
    dry_run = flag(request, "dry_run")
    body = body_of(await request.body())
    await holidays_at_hand([body])
    check_patch(body)
    wanted_status(body)
    if dry_run:
        planner, if_match = services(request).planner, request.headers.get("if-match")
        return json_response(await planner.change(task_id, body, if_match, caller(request)))
    ids = await identity_of(request, body, task_id=task_id)
    outcome = await send(request, "update", task_id, body, ids)
    return pending_response(ids) if outcome is None else _task_response(outcome)


def _task_response(
    outcome: Outcome, status: int = 200, headers: dict[str, str] | None = None
) -> HttpResponse:
    if outcome.task is None:
        # Decided before, and gone since: there is no state left to show.
        return _empty_response()
    return json_response(outcome.task, status, {**(headers or {}), **_etag(outcome.task)})


def _empty_response() -> HttpResponse:
    return HttpResponse(b"", status_code=204)


def _etag(task: Task) -> dict[str, str]:
    return {"ETag": f'"{task.version}"'}


TASK_ROUTES = [
    create_task,
    list_tasks,
    read_task,
    patch_task,
    put_task,
    delete_task,
    pause_task,
    resume_task,
    cancel_task,
    complete_task,
]
