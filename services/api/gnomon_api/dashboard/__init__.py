"""The dashboard at `/`: one page with tasks, executions and live events, and nothing from elsewhere.

It is rendered here with what the read models have now, so it tells something without any script; a script of
a few lines then follows `/events` and asks again for the tables when something has happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

import msgspec
from litestar import Response, get

from gnomon_api.database import DatabaseAway
from gnomon_api.execution_views import Execution
from gnomon_api.http_io import HttpRequest, HttpResponse, caller, services
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.tasks import Task

__all__ = ["dashboard_page"]

_SHOWN: Final = 25
_POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    ),
    "Cache-Control": "no-store",
}
_EVENTS: Final = msgspec.json.encode([*EVENT_TYPES, "progress"]).decode()
"""What the page listens for: a browser hears only the events that it names."""
_PAGE: Final = Template((files(__package__) / "page.html").read_text(encoding="utf-8"))


@get("/")
async def dashboard_page(request: HttpRequest) -> HttpResponse:
    """Tasks, executions and live events, for people."""
    api, who = services(request), caller(request)
    trouble, counts, tasks, executions = "", "", "", ""
    try:
        rows = await api.database.fetch(statement("task_counts"))
        counts = "".join(f"<li><b>{row['tasks']}</b> {escape(row['status'])}" for row in rows)
        task_page = await api.tasks.list([("limit", str(_SHOWN))], who)
        run_page = await api.executions.list([("limit", str(_SHOWN))], who)
        tasks = "".join(map(_task_row, task_page.items))
        ran = list({execution.task_id for execution in run_page.items})
        names = {
            row["task_id"]: row["name"] for row in await api.database.fetch(statement("task_names"), ran)
        }
        executions = "".join(_execution_row(execution, names) for execution in run_page.items)
    except DatabaseAway:
        trouble = "Postgres is away: tasks run and commands are taken, but nothing can be shown now."
    page = _PAGE.substitute(
        version=escape(api.version),
        user=escape(who.user_id),
        trouble=escape(trouble),
        hidden="" if trouble else "hidden",
        counts=counts or "<li>no tasks yet",
        tasks=tasks or "<tr><td colspan=6 class=none>No tasks yet.",
        events=_EVENTS,
        executions=executions or "<tr><td colspan=6 class=none>Nothing has run yet.",
    )
    return Response(page.encode(), media_type="text/html", headers=_POLICY)


def _task_row(task: Task) -> str:
    return (
        f"<tr><td title='{escape(task.task_id)}'>{escape(task.name)}<td>{escape(task.task_type)}"
        f"<td><i class='{escape(task.status)}'>{escape(task.status)}</i>"
        f"<td><time>{escape(task.next_run_time or '')}</time>"
        f"<td><time>{escape(task.last_run_time or '')}</time>"
        f"<td>{task.success_count} / {task.failure_count}"
    )


def _execution_row(execution: Execution, names: Mapping[str, str]) -> str:
    # A task that retention has removed has no name any more.
    name = names.get(execution.task_id, execution.task_id)
    duration = "" if execution.duration_ms is None else f"{execution.duration_ms:,} ms"
    lateness = "" if execution.lateness_ms is None else f"{execution.lateness_ms:,} ms"
    return (
        f"<tr><td title='{escape(execution.execution_id)}'>{escape(name)}"
        f"<td><time>{escape(execution.scheduled_for or '')}</time>"
        f"<td><i class='{escape(execution.status)}'>{escape(execution.status)}</i> {escape(execution.reason or '')}"
        f"<td>{lateness}<td>{duration}<td>{escape(execution.executor or '')}"
    )
