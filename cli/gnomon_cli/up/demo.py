"""The three tasks of `gnomon up --demo`: they need no internet, and creating them again changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from gnomon_cli.api_client import ApiProblem, client_options
from gnomon_cli.errors import CliError
from gnomon_cli.target import Target

__all__ = ["create_demo_tasks", "demo_tasks"]

_PATIENCE_SECONDS = 30.0
_AGAIN_SECONDS = 0.1

_NOT_YET = frozenset({"unknown_task_type", "unavailable"})
"""Refusals of the first moments: the schedulers have not heard of the executors' types, or are taking their
shards.
"""


def demo_tasks(url: str) -> list[dict[str, Any]]:
    """The bodies of the tasks; `url` is the address of the api, which one of them asks whether it lives."""
    return [
        {
            "task_id": "demo-echo",
            "name": "Echo every 2 s",
            "task_type": "echo",
            "config": {"say": "hello"},
            "schedule": {"kind": "interval", "every_seconds": 2},
            "tags": ["demo"],
        },
        {
            "task_id": "demo-minute",
            "name": "Sleep each full minute",
            "task_type": "sleep",
            "config": {"seconds": 2},
            "schedule": {"kind": "cron", "expression": "* * * * *"},
            "tags": ["demo"],
        },
        {
            "task_id": "demo-livez",
            "name": "Ask the api if it lives",
            "task_type": "http_request",
            "config": {"method": "GET", "url": f"{url}/livez"},
            "schedule": {"kind": "interval", "every_seconds": 5},
            "tags": ["demo"],
        },
    ]


async def create_demo_tasks(target: Target, tasks: Sequence[dict[str, Any]]) -> list[str]:
    """Create what is not there yet; return a line about each task that is not as it was meant.

    Raises `CliError` when the api refuses a task, or does not take it within 30 s.
    """
    async with httpx.AsyncClient(timeout=10.0, **client_options(target)) as http:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                remarks = [await _create(http, task) for task in tasks]
        except TimeoutError:
            raise CliError(
                f"the demo's tasks could not be created within {_PATIENCE_SECONDS:g} s",
                hint="the logs of scheduler and executor say more",
            ) from None
    return [remark for remark in remarks if remark]


async def _create(http: httpx.AsyncClient, task: dict[str, Any]) -> str:
    while True:
        try:
            response = await http.post("/api/v1/tasks", json=task)
        except httpx.TransportError:
            await asyncio.sleep(_AGAIN_SECONDS)
            continue
        if response.status_code < 300:
            return ""
        problem = _problem(response)
        if problem.code in _NOT_YET:
            # What it waits for is another process's knowledge, which nobody announces to us.
            await asyncio.sleep(_AGAIN_SECONDS)
            continue
        if problem.code == "already_exists":
            return await _correct(http, task)
        if problem.code == "deleted":
            return f"{task['task_id']} was deleted earlier, and its id is not free yet: left out"
        raise problem


async def _correct(http: httpx.AsyncClient, task: dict[str, Any]) -> str:
    """A task of that id is there, with another body: the port has changed, or somebody has edited it."""
    if task["task_type"] != "http_request":
        return f"{task['task_id']} was changed since: left as it is"
    response = await http.patch(f"/api/v1/tasks/{task['task_id']}", json={"config": task["config"]})
    return (
        "" if response.status_code < 300 else f"{task['task_id']} could not be changed: {_problem(response)}"
    )


def _problem(response: httpx.Response) -> ApiProblem:
    try:
        body = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        body = {"detail": response.text[:200]}
    return ApiProblem(response.status_code, body)
