"""Gnomon for other services: send commands, follow events, write task types.

from gnomon import Client, cron

async with Client("nats://127.0.0.1:4222") as gnomon:
    task = await gnomon.create_task(
        name="Ping",
        task_type="http_request",
        config={"url": "https://example.org"},
        schedule=cron("*/5 * * * *"),
    )
    async for event in gnomon.events("executed", task_id=task.task_id):
        print(event)
"""

from __future__ import annotations

from gnomon.client import Client
from gnomon.context import Cancelled, Context, Log, Previous
from gnomon.decisions import DoNotRetry, Retry
from gnomon.errors import GnomonError, NotAnswered
from gnomon.event_stream import EventStream, ReminderStream
from gnomon.ids import new_id
from gnomon.live_stream import LiveStream
from gnomon.schedules import any_of, cron, daily, date_span, holidays, interval, monthly, once, weekly
from gnomon.task_types import TaskType, task_type

__all__ = [
    "Cancelled",
    "Client",
    "Context",
    "DoNotRetry",
    "EventStream",
    "GnomonError",
    "LiveStream",
    "Log",
    "NotAnswered",
    "Previous",
    "ReminderStream",
    "Retry",
    "TaskType",
    "any_of",
    "cron",
    "daily",
    "date_span",
    "holidays",
    "interval",
    "monthly",
    "new_id",
    "once",
    "task_type",
    "weekly",
]
