"""The three tasks of `gnomon up --demo`: they need no internet, and creating them again changes nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from gnomon_cli.api_client import ApiClient, ApiProblem, Unreachable
from gnomon_cli.errors import CliError
from gnomon_cli.target import Target

__all__ = ["create_demo_tasks", "demo_tasks", "follow_port"]

_PATIENCE_SECONDS = 30.0
_OWN_URL = re.compile(r"http://[^/]+:\d+/livez")
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
            "name": "Is the api alive?",
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
    api = ApiClient(target, timeout=10.0)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            remarks = [await _create(api, task) for task in tasks]
    except TimeoutError:
        raise CliError(
            f"the demo's tasks could not be created within {_PATIENCE_SECONDS:g} s",
            hint="the logs of scheduler and executor say more",
        ) from None
    return [remark for remark in remarks if remark]


async def follow_port(target: Target, tasks: Sequence[dict[str, Any]]) -> str:
    """Point the task that asks the api to where the api is now, if it is there and asks elsewhere.

    Returns a line where that did not work. Raises `CliError` when the api cannot be asked.
    """
    api = ApiClient(target, timeout=10.0)
    for task in tasks:
        if task["task_type"] != "http_request":
            continue
        try:
            there = await asyncio.to_thread(api.get, f"/tasks/{task['task_id']}")
        except ApiProblem as problem:
            if problem.status == 404:
                continue  # there never was a demo here, or it was deleted
            raise
        asked = str(there.body["config"].get("url", ""))
        if asked != task["config"]["url"] and _is_own(asked):
            return await _correct(api, task)
    return ""


def _is_own(url: str) -> bool:
    """Whether this is what an earlier demo has put in, and not what somebody has made of it."""
    return _OWN_URL.fullmatch(url) is not None


async def _create(api: ApiClient, task: dict[str, Any]) -> str:
    while True:
        try:
            await asyncio.to_thread(api.post, "/tasks", task)
        except Unreachable:
            pass  # the api is being started again
        except ApiProblem as problem:
            if problem.code == "already_exists":
                return await _correct(api, task)
            if problem.code == "deleted":
                return f"{task['task_id']} was deleted earlier, and its id is not free yet: left out"
            if problem.code not in _NOT_YET:
                raise
        else:
            return ""
        # What it waits for is another process's knowledge, which nobody announces to us.
        await asyncio.sleep(_AGAIN_SECONDS)


async def _correct(api: ApiClient, task: dict[str, Any]) -> str:
    """A task of that id is there, with another body: the port has changed, or somebody has edited it."""
    if task["task_type"] != "http_request":
        return f"{task['task_id']} was changed since: left as it is"
    try:
        await asyncio.to_thread(api.patch, f"/tasks/{task['task_id']}", {"config": task["config"]})
    except CliError as error:
        return f"{task['task_id']} could not be changed: {error}"
    return ""
