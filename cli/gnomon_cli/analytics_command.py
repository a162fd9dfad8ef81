"""`gnomon analytics`: what a user's tasks did, or the whole platform's."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK
from gnomon_cli.shown import counted, instant
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal

__all__ = ["analytics_command"]

_LABELS = 20
"""Columns of the longest label."""


def analytics_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show the report. Raises `CliError` when there is no answer."""
    api = ApiClient(find_target(options.url, options.data))
    path = "/analytics/platform" if options.platform else "/tasks/analytics"
    answer = api.get(path, days=options.days, timezone=options.timezone, user_id=options.user)
    if options.json:
        terminal.raw(msgspec.json.format(answer.raw or b"null", indent=2))
    else:
        _show(answer.body, terminal, _platform(answer.body) if options.platform else _own(answer.body))
    return OK


def _show(report: Mapping[str, Any], terminal: Terminal, rows: Sequence[tuple[str, str]]) -> None:
    period = report["time_period"]
    terminal.line(
        (counted(period["days"], "day"), "bold"),
        f" from {instant(period['from'])} to {instant(period['to'])}; hours and days as in {period['timezone']}",
    )
    for label, value in (*rows, *_busiest(report)):
        terminal.paragraph(f"{label + ':':<{_LABELS}} {value}")
    if report.get("types"):
        terminal.line()
        terminal.table(
            ["task type", "runs", "succeeded", "seconds on average", "credits", "tokens", "api calls"],
            [
                (
                    one["task_type"],
                    f"{one['executions']:,}",
                    _share(one["success_rate"]),
                    _number(one["average_execution_seconds"]),
                    _number(one["credits_consumed"]),
                    f"{one['tokens_used']:,}",
                    f"{one['api_calls_made']:,}",
                )
                for one in report["types"]
            ],
        )


def _own(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    by_status = ", ".join(
        f"{report[f'{status}_tasks']:,} {status}" for status in ("active", "paused", "completed", "failed")
    )
    return [
        ("tasks", f"{report['total_tasks']:,} ({by_status})"),
        ("by type", _counts(report["task_types_distribution"])),
        ("runs", f"{report['total_executions']:,}"),
        ("succeeded", _share(report["success_rate"])),
        ("seconds on average", _number(report["average_execution_seconds"])),
        *_used(report),
    ]


def _platform(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    latency = report["start_latency"]
    days = report["daily_active_tasks"]
    return [
        ("tasks", f"{report['total_tasks']:,}, {report['active_tasks']:,} of them active"),
        ("by type", _counts(report["task_types_distribution"])),
        ("users", f"{report['users']:,}, with {_number(report['tasks_per_user'])} tasks on average"),
        ("kept for 30 days", _share(report["retention_30_days"])),
        ("creates accepted", _share(report["creation_success_rate"])),
        ("from a template", _share(report["template_usage"])),
        ("runs", f"{report['total_executions']:,}"),
        ("succeeded", _share(report["execution_success_rate"])),
        ("started on time", _share(report["on_time_share"])),
        ("slots missed", f"{report['missed_slots']:,}"),
        ("start latency, ms", ", ".join(f"{name[:3]} {_number(latency[name])}" for name in latency)),
        ("ran on the last day", f"{days[-1]['tasks']:,} ({days[-1]['day']})" if days else "-"),
        *_used(report),
        ("storage", f"{report['storage_bytes'] / 1e6:,.1f} MB"),
    ]


def _used(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("credits", _number(report["total_credits_consumed"])),
        ("tokens", f"{report['total_tokens_used']:,}"),
        ("api calls", f"{report['total_api_calls']:,}"),
    ]


def _busiest(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    hours = ", ".join(f"{one['hour']:02}:00 ({one['executions']:,})" for one in report["busiest_hours"])
    days = ", ".join(f"{one['day']} ({one['executions']:,})" for one in report["busiest_days"])
    return [("busiest hours", hours or "-"), ("busiest days", days or "-")]


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in found.items()) or "-"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(number: float | None) -> str:
    return "-" if number is None else f"{number:,.3f}".rstrip("0").rstrip(".")
