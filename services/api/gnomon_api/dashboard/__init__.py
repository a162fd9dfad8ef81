"""The dashboard at `/`: one page for people, and nothing from elsewhere.

Its first view, of tasks and runs as they are now, is rendered here from the read models, so it tells something
without any script. The script (`script/`, put together in `_SCRIPTS`' order) follows `/events`, asks for the first view
again when something has happened, and makes the other views from the HTTP API, by the part of the address after `#`: a
task, a run with its log and why it ran, templates, accounts, analytics, the system. What it does there, anybody can
do by the same API; nothing is decided here.

The page may run no script but this one, known by its hash, and may be shown in no frame: a page from elsewhere that
laid itself over the buttons could have somebody press them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Final
from urllib.parse import quote

import msgspec
from litestar import Response, get

from gnomon_api.database import DatabaseAway, Row
from gnomon_api.execution_views import Execution
from gnomon_api.http_io import HttpRequest, HttpResponse, caller, flag, services
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.tasks import Task

__all__ = ["dashboard_page"]

_SHOWN: Final = 25
_SCRIPTS: Final = ("base", "lists", "task", "templates", "account", "system", "main")
_FOLDER: Final = files(__package__)
_SCRIPT: Final = "".join((_FOLDER / "script" / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
_SCRIPT_HASH: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
}
_EVENTS: Final = escape(msgspec.json.encode([*EVENT_TYPES, "progress"]).decode())
"""What the page listens for: a browser hears only the events that it names."""
_PAGE: Final = Template((_FOLDER / "page.html").read_text(encoding="utf-8"))
_STYLE: Final = (_FOLDER / "page.css").read_text(encoding="utf-8")
_NO_TASKS: Final = (
    "<tr><td colspan=7 class=none>No tasks yet. <a href='#/templates'>Make one from a template</a>, or by "
    "<code>gnomon task create --name Hello --type echo --every 10s</code>."
)


@get("/")
async def dashboard_page(request: HttpRequest) -> HttpResponse:
    """Tasks, executions and live events, for people. With `?bare=true` without style and script, which have not changed
    for who asks again."""
    bare = flag(request, "bare")
    api, who = services(request), caller(request)
    trouble, counts, tasks, executions = "", "", "", ""
    try:
        rows = await api.database.fetch(statement("task_counts"))
        counts = "".join(map(_count, rows))
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
        counts=counts or ("" if trouble else "<li>no tasks yet"),
        style="" if bare else _STYLE,
        script="" if bare else _SCRIPT,
        tasks=tasks or (trouble and "<tr><td colspan=7 class=none>Not known now.") or _NO_TASKS,
        events=_EVENTS,
        executions=executions
        or f"<tr><td colspan=6 class=none>{'Not known now.' if trouble else 'Nothing has run yet.'}",
    )
    return Response(page.encode(), media_type="text/html", headers=_POLICY)


def _count(row: Row) -> str:
    status = escape(row["status"])
    return f"<li><a href='#/tasks?status={status}'><b>{row['tasks']:,}</b> {status}</a>"


def _task_row(task: Task) -> str:
    return "<tr>" + "".join(
        (
            _cell("Name", f"<a href='#/task/{quote(task.task_id)}'>{escape(task.name)}</a>"),
            _cell("Type", escape(task.task_type)),
            _cell("Status", _badge(task.status)),
            _cell("Next", _next(task)),
            _cell("Last run", _time(task.last_run_time)),
            _cell("Good", f"{task.success_count:,}"),
            _cell("Bad", f"{task.failure_count:,}"),
        )
    )


def _execution_row(execution: Execution, names: Mapping[str, str]) -> str:
    # A task that retention has removed has no name any more.
    name = names.get(execution.task_id, execution.task_id)
    run = f"<a href='#/run/{quote(execution.execution_id)}'>"
    reason = escape((execution.reason or "").replace("_", " "))
    return "<tr>" + "".join(
        (
            _cell("Task", f"<a href='#/task/{quote(execution.task_id)}'>{escape(name)}</a>"),
            _cell("When", f"{run}{_time(execution.scheduled_for or execution.recorded_at)}</a>"),
            _cell("Status", f"{_badge(execution.status)} {reason}"),
            _cell("Late", _milliseconds(execution.lateness_ms)),
            _cell("Took", _milliseconds(execution.duration_ms)),
            _cell("Executor", escape(execution.executor or "–")),
        )
    )


def _cell(label: str, content: str) -> str:
    """A cell that says what it is where there is no room for columns."""
    return f"<td data-label='{label}'><span>{content}</span>"


def _badge(status: str) -> str:
    return f"<i class='{escape(status)}'>{escape(status.replace('_', ' '))}</i>"


def _time(text: str | None) -> str:
    """An instant, in UTC: the script puts it in the reader's own zone."""
    return f"<time data-far>{escape(text)}</time>" if text else "–"


def _next(task: Task) -> str:
    """What comes next of a task: its run, else when it is due, else its reminder."""
    if task.next_run_time:
        return _time(task.next_run_time)
    if task.status in ("completed", "cancelled", "failed"):
        return "–"
    if task.due_date:
        return f"due {_time(task.due_date)}"
    return f"reminder {_time(task.reminder_time)}" if task.reminder_time else "–"


def _milliseconds(value: int | None) -> str:
    return "–" if value is None else f"{value:,} ms"
