"""`gnomon task …`: the HTTP API from a terminal. Each function is one verb and returns the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from gnomon_cli import shown, task_tables
from gnomon_cli.answers import as_json, path_part
from gnomon_cli.api_client import Answer, ApiClient, ApiProblem
from gnomon_cli.catch_up_command import catch_up
from gnomon_cli.errors import FAILED, OK, UsageError
from gnomon_cli.plan_tables import show_plan
from gnomon_cli.target import find_target
from gnomon_cli.task_input import patch_body, read_json, task_body
from gnomon_cli.terminal import Terminal

__all__ = ["task_command"]

_GOOD_ENDS = ("completed", "skipped", "coalesced")
_UNFINISHED = ("queued", "running", "retrying")
_SPARE_SECONDS = 10.0
"""How much longer than the api's own wait a request may take."""


_DRY: Mapping[str, str | int] = {"dry_run": "true"}


def _create(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body = task_body(options)
    if options.dry_run:
        answer = api.post("/tasks", body, params=_DRY)
        if not as_json(options, terminal, answer):
            show_plan(answer.body, terminal, new=True, named="task_id" in body)
        return OK
    answer = api.post("/tasks", body)
    if not as_json(options, terminal, answer):
        task = _task_of(answer)
        said = "created" if answer.status == 201 else "is there already, just like this"
        terminal.line((str(task.get("task_id")), "bold"), f" {said}: ", task_tables.next_run(task))
    return OK


def _update(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    path, body = f"/tasks/{path_part(options.id)}", patch_body(options)
    if options.dry_run:
        answer = api.patch(path, body, params=_DRY)
        if not as_json(options, terminal, answer):
            show_plan(answer.body, terminal, new=False, named=True)
        return OK
    answer = api.patch(path, body)
    if not as_json(options, terminal, answer):
        task = _task_of(answer)
        version = f" is at version {task.get('version')}: "
        terminal.line((options.id, "bold"), version, task_tables.next_run(task))
    return OK


def _list(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get(
        "/tasks",
        status=options.status,
        task_type=options.type,
        tag=options.tag,
        user_id=options.user,
        q=options.query,
        overdue="true" if options.overdue else None,
        due_before=shown.instant_given(options.due_before, datetime.now(UTC), ahead=True),
        sort=options.sort,
        limit=options.limit,
        cursor=options.cursor,
    )
    if not as_json(options, terminal, answer):
        items = answer.body["items"]
        if items:
            terminal.table(task_tables.TASK_COLUMNS, [task_tables.task_row(task) for task in items])
        else:
            terminal.line("no tasks")
        if cursor := answer.body.get("next_cursor"):
            terminal.line(("there are more: --limit 500, or --cursor " + str(cursor), "dim"))
    return OK


def _show(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    at = shown.instant_given(options.at, datetime.now(UTC), ahead=False)
    answer = api.get(f"/tasks/{path_part(options.id)}", at=at)
    if as_json(options, terminal, answer):
        return OK
    task = answer.body
    for label, value in task_tables.task_facts(task):
        terminal.paragraph(f"{label + ':':<14} {value}")
    if at is not None:
        return OK
    executions = api.get(f"/tasks/{path_part(options.id)}/executions", limit=5).body["items"]
    if executions:
        terminal.line()
        terminal.table(
            task_tables.EXECUTION_COLUMNS, [task_tables.execution_row(execution) for execution in executions]
        )
    return OK


def _history(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get(
        f"/tasks/{path_part(options.id)}/history",
        field=options.field,
        user_id=options.user,
        sort="at" if options.oldest else None,
        limit=options.limit,
        cursor=options.cursor,
    )
    if not as_json(options, terminal, answer):
        task_tables.show_history(answer.body, terminal)
    return OK


def _misfits(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    path = f"/task-types/{path_part(options.type)}/misfits"
    answer = api.get(path, limit=options.limit, cursor=options.cursor)
    if not as_json(options, terminal, answer):
        rows = [row for one in answer.body["items"] for row in task_tables.misfit_rows(one)]
        if rows:
            terminal.table(task_tables.MISFIT_COLUMNS, rows)
        else:
            looked = shown.counted(answer.body["checked"], "task")
            terminal.line(f"none of the tasks of type {options.type} is a misfit: {looked} looked at")
        if cursor := answer.body.get("next_cursor"):
            terminal.line((f"there are more: --cursor {cursor}", "dim"))
    return OK


def _run(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body: dict[str, Any] = {}
    if options.trigger_data is not None:
        body["trigger_data"] = read_json(options.trigger_data, "--trigger-data")
    if options.config is not None:
        body["config"] = read_json(options.config, "--config")
    if options.overlap is not None:
        body["overlap"] = options.overlap
    if options.trigger is not None:
        body["trigger"] = options.trigger
    path = f"/tasks/{path_part(options.id)}/execute"
    if options.wait is None:
        answer = api.post(path, body)
    else:
        wait = max(1, round(options.wait))
        answer = api.post(path, body, params={"wait": wait}, timeout=wait + _SPARE_SECONDS)
    execution = answer.body
    status = str(execution.get("status"))
    if not as_json(options, terminal, answer):
        _tell_run(execution, terminal, waited=options.wait is not None)
    if options.wait is not None and status not in _GOOD_ENDS:
        return FAILED
    return OK


def _tell_run(execution: Mapping[str, Any], terminal: Terminal, *, waited: bool) -> None:
    status = str(execution.get("status"))
    terminal.line(*task_tables.execution_line(execution))
    if waited and status in _UNFINISHED:
        terminal.line(("it has not finished in that time, and goes on", "yellow"))
    if (result := execution.get("result")) is not None:
        terminal.paragraph(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
    if isinstance(error := execution.get("error"), dict):
        terminal.paragraph(f"{error.get('type')}: {error.get('message')}", style="red")


def _pause(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    until = shown.instant_given(options.until, datetime.now(UTC), ahead=True)
    body = {"note": options.note, "until": until}
    return _each(options, api, terminal, "pause", {k: v for k, v in body.items() if v is not None})


def _resume(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    return _each(options, api, terminal, "resume", {})


def _cancel(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    return _each(options, api, terminal, "cancel", {"running": "finish"} if options.finish else {})


def _complete(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    return _each(options, api, terminal, "complete", {})


def _retry(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    """Run executions that have ended once more; one that is refused does not keep the others."""

    def again(execution_id: str) -> None:
        answer = api.post(f"/executions/{path_part(execution_id)}/retry", {})
        if not as_json(options, terminal, answer):
            terminal.line((execution_id, "bold"), " runs again as ", (str(answer.body["run"]), "bold"))

    return _for_each(options, terminal, again)


def _each(
    options: argparse.Namespace, api: ApiClient, terminal: Terminal, verb: str, body: dict[str, Any]
) -> int:
    """Do the same to every id; one that is refused does not keep the others."""

    def change(task_id: str) -> None:
        answer = api.post(f"/tasks/{path_part(task_id)}/{verb}", body)
        if not as_json(options, terminal, answer):
            task = _task_of(answer)
            terminal.line((task_id, "bold"), f" is {task.get('status')}: ", task_tables.next_run(task))

    return _for_each(options, terminal, change)


def _delete(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    def delete(task_id: str) -> None:
        api.delete(f"/tasks/{path_part(task_id)}")
        if not options.json:
            terminal.line((task_id, "bold"), " is deleted")

    return _for_each(options, terminal, delete)


def _for_each(options: argparse.Namespace, terminal: Terminal, change: Callable[[str], None]) -> int:
    code = OK
    # With --json the output is for programs, and what was refused is told aside.
    aside = Terminal(sys.stderr) if options.json else terminal
    for task_id in options.ids:
        try:
            change(task_id)
        except ApiProblem as problem:
            if len(options.ids) == 1:
                raise
            aside.line((f"{task_id}: {'; '.join((problem.message, *problem.details))}", "red"))
            code = FAILED
    return code


def _next(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get(f"/tasks/{path_part(options.id)}/next", count=options.count)
    if not as_json(options, terminal, answer):
        if description := answer.body.get("description"):
            terminal.paragraph(str(description), style="bold")
        fires = answer.body["fires"]
        if fires:
            terminal.table(task_tables.FIRE_COLUMNS, [task_tables.fire_row(fire) for fire in fires])
        else:
            terminal.line("no fire is left")
    return OK


def _explain(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    task_id, dot, run = options.id.partition(".")
    if dot and options.at is not None:
        raise UsageError(f"{options.id} is one execution, and --at asks for another", hint="give one of them")
    params = {"at": options.at, "run": run or None}
    answer = api.get(f"/tasks/{path_part(task_id)}/explain", **params)
    if not as_json(options, terminal, answer):
        explanation = answer.body
        terminal.line(*task_tables.verdict_line(options.id, explanation))
        terminal.paragraph(str(explanation["reason"]))
        if explanation["steps"]:
            terminal.line()
            terminal.table(
                task_tables.STEP_COLUMNS, [task_tables.step_row(step) for step in explanation["steps"]]
            )
    return OK


_VERBS: dict[str, Callable[[argparse.Namespace, ApiClient, Terminal], int]] = {
    "create": _create,
    "update": _update,
    "list": _list,
    "show": _show,
    "history": _history,
    "run": _run,
    "pause": _pause,
    "resume": _resume,
    "complete": _complete,
    "cancel": _cancel,
    "retry": _retry,
    "delete": _delete,
    "next": _next,
    "misfits": _misfits,
    "catch-up": catch_up,
    "explain": _explain,
}


def task_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Do one verb of `gnomon task`. Raises `CliError` for whatever goes wrong."""
    target = find_target(options.url, options.data)
    return _VERBS[options.verb](options, ApiClient(target), terminal)


def _task_of(answer: Answer) -> dict[str, Any]:
    """The task in an answer; empty where it is gone already."""
    return answer.body if isinstance(answer.body, dict) else {}
