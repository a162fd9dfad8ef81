"""`gnomon audit`: has every slot that should have been exactly one recorded outcome?"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, UsageError
from gnomon_cli.shown import counted, instant, instant_given
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal

__all__ = ["NOT_SOUND", "audit_command"]

NOT_SOUND = 1
"""Exit code when a slot is missing, doubled or misplaced."""
_DISPUTED = "disputed"
_DIFFERENCES_SHOWN = 20
_LISTS = (
    ("missing", "without an outcome"),
    ("duplicate", "with more than one outcome"),
    ("misplaced", "recorded where no slot was, or under another revision"),
)


def audit_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show the audit; exit code 0 when it is sound. Raises `CliError` when there is no answer."""
    if options.repair and options.engine:
        raise UsageError("--engine and --repair do not go together: a repair goes by Gnomon's own arithmetic")
    api = ApiClient(find_target(options.url, options.data))
    now = datetime.now(UTC)
    params = {
        "task_id": options.task,
        "since": instant_given(options.since, now),
        "until": instant_given(options.until, now),
    }
    if options.repair:
        given = {name: value for name, value in params.items() if value is not None}
        answer = api.post("/ledger/repair", params=given)
        report = answer.body["audit"]
    else:
        answer = api.get("/ledger/audit", **params, engine=options.engine)
        report = answer.body
    if options.json:
        terminal.raw(msgspec.json.format(answer.raw or b"null", indent=2))
    else:
        _show(report, terminal)
        if options.repair:
            _show_repair(answer.body, terminal)
    return OK if _is_in_order(report, answer.body if options.repair else None) else NOT_SOUND


def _is_in_order(report: Mapping[str, Any], repair: Mapping[str, Any] | None) -> bool:
    """Whether nothing is wrong, or nothing is any more."""
    if report["sound"] or repair is None:
        return bool(report["sound"])
    others = report["duplicate_count"] or report["misplaced_count"] or report["miscounted"]
    return not others and repair["repaired"] == report["missing_count"]


def _show_repair(done: Mapping[str, Any], terminal: Terminal) -> None:
    terminal.line(f"{done['repaired']:,} repaired: by the log of its shard each has its outcome now, or runs")
    if done["archive_only"]:
        terminal.line(
            (f"{done['archive_only']:,} are in the log: only the archive or a table lacks them", "red")
        )
    if done["pending"]:
        terminal.line((f"{done['pending']:,} still to be decided by their shards", "yellow"))
    for one in done["refused"]:
        for slot in one["slots"]:
            terminal.line((f"  {one['task_id']}  {instant(slot)}  not repaired: {one['detail']}", "red"))


def _show(report: Mapping[str, Any], terminal: Terminal) -> None:
    terminal.line(
        (counted(report["expected"], "slot"), "bold"),
        f" of {counted(report['tasks'], 'task')} from {instant(report['since'])} to {instant(report['until'])}",
    )
    outcomes = report["outcomes"]
    terminal.table(
        ["outcome", "slots"],
        [
            *((name, f"{count:,}") for name, count in outcomes.items()),
            ("pending", f"{report['pending']:,}"),
            ("missing", f"{report['missing_count']:,}"),
        ],
    )
    if report.get("cross_check") is not None:
        _show_cross_check(report["cross_check"], terminal)
    if report["sound"]:
        terminal.line(("every slot has exactly one outcome, or is on its way to it", "green"))
        return
    for name, what in _LISTS:
        if report[f"{name}_count"]:
            terminal.line((f"{report[f'{name}_count']:,} {what}:", "red"))
            for slot in report[name]:
                terminal.line(f"  {slot['execution_id']}  (revision {slot['revision']})")
    for span in report["miscounted"]:
        terminal.line(
            (
                f"a span of {span['task_id']} from {span['from']} to {span['to']} stands for {span['count']}, "
                "and covers another number of slots",
                "red",
            )
        )


def _show_cross_check(found: Mapping[str, Any], terminal: Terminal) -> None:
    terminal.line(
        ("cronsim", "bold"),
        f" names the same {counted(found['checked'], 'slot')}; of schedules that are no cron: {found['unchecked']:,}",
    )
    if found["explained"]:
        terminal.line(
            f"{counted(found['explained'], 'slot')} only one of the two names, by differences that are known "
            "(docs/explanation/time.md):"
        )
        _show_differences([one for one in found["differences"] if one["why"] != _DISPUTED], terminal, "")
    if found["disputed"]:
        terminal.line(
            (
                f"{counted(found['disputed'], 'slot')} only one of the two names, and nothing explains it:",
                "red",
            )
        )
        _show_differences([one for one in found["differences"] if one["why"] == _DISPUTED], terminal, "red")


def _show_differences(found: Sequence[Mapping[str, Any]], terminal: Terminal, style: str) -> None:
    for one in found[:_DIFFERENCES_SHOWN]:
        words = f"  {one['task_id']}  {instant(one['scheduled_for'])}  only {one['named_by']}: {one['why']}"
        terminal.line((words, style))
