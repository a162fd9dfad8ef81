"""What a task was: its changes over HTTP. A past state is a parameter of reading the task (`routes.tasks`)."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.params import FromPath

from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    caller,
    checked_id,
    json_response,
    params_of,
    services,
)
from gnomon_api.task_history import TaskHistory

__all__ = ["HISTORY_ROUTES", "task_history"]


@get("/tasks/{task_id:str}/history")
async def task_history(request: HttpRequest, task_id: FromPath[str]) -> HttpResponse:
    """Every change of a task, also of one that was deleted: who, when, which fields, old and new, by which command."""
    api = services(request)
    # Whose it is now decides who may read it.
    task = await api.tasks.known(checked_id(task_id), caller(request))
    return json_response(await TaskHistory(api.database).page(task.task_id, params_of(request)))


HISTORY_ROUTES: list[Any] = [task_history]
