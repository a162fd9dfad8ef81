"""`gnomon task catch-up`: late runs that wait for an operator's word."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from gnomon_cli.answers import as_json
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK
from gnomon_cli.shown import counted
from gnomon_cli.terminal import Terminal

__all__ = ["catch_up"]

_COLUMNS = ("shard", "leader", "late runs", "of them held")


def catch_up(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    """Show what is late, or decide what becomes of what is held."""
    action = "approve" if options.approve else "discard" if options.discard else None
    if action is None:
        answer = api.get("/scheduler")
        if not as_json(options, terminal, answer):
            _show(answer.body["shards"], terminal)
        return OK
    answer = api.post("/scheduler/catch-up", {"action": action})
    if not as_json(options, terminal, answer):
        told = answer.body
        what = "let run" if action == "approve" else "recorded as missed"
        terminal.line(
            (f"{what}: {_late(told['held'])}", "bold"), f", decided by {counted(told['shards'], 'shard')}"
        )
        if told["pending"]:
            names = ", ".join(map(str, told["pending"]))
            terminal.line(
                (f"shards {names} have not answered yet; they will when they have a leader", "yellow")
            )
    return OK


def _show(shards: Sequence[Mapping[str, Any]], terminal: Terminal) -> None:
    told = [shard for shard in shards if shard["catch_up"] is not None]
    waiting = sum(shard["catch_up"]["waiting"] for shard in told)
    held = sum(shard["catch_up"]["held"] for shard in told)
    if silent := len(shards) - len(told):
        terminal.line(
            (
                f"without a leader, and nobody speaks for them: {silent} of {counted(len(shards), 'shard')}",
                "yellow",
            )
        )
    if not waiting:
        terminal.line("nothing is late")
        return
    if held:
        terminal.line((f"held until you decide: {_late(held)}", "bold"))
        terminal.line("let them run:           gnomon task catch-up --approve")
        terminal.line("record them as missed:  gnomon task catch-up --discard")
    if waiting - held:
        terminal.line(f"being caught up with, a few a second: {_late(waiting - held)}")
    terminal.line()
    rows = [shard for shard in told if shard["catch_up"]["waiting"]]
    terminal.table(_COLUMNS, [_row(shard) for shard in rows])


def _row(shard: Mapping[str, Any]) -> tuple[str, ...]:
    late = shard["catch_up"]
    return str(shard["partition"]), str(shard["leader"]), f"{late['waiting']:,}", f"{late['held']:,}"


def _late(count: int) -> str:
    return counted(count, "late run")
