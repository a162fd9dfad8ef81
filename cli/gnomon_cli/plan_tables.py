"""A dry run, for people: what would be, before it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gnomon_cli import shown
from gnomon_cli.task_tables import FIRE_COLUMNS, fire_row
from gnomon_cli.terminal import Terminal

__all__ = ["show_plan"]

_ROWS = 10
"""Runs that a table shows of each sort."""
_WHOLE_WINDOW = 7 * 86_400
"""Seconds that a plan looks ahead, where there are not too many runs."""
_NOTES = {"dst_gap": "the clock skips this time", "dst_overlap": "the clock shows this time twice"}


def show_plan(answer: Mapping[str, Any], terminal: Terminal, *, new: bool, named: bool) -> None:
    """Write what a dry run of a create (`new`) or an update tells. `named`: the caller chose the task's id."""
    task, plan = answer["task"], answer["plan"]
    terminal.line(("dry run: nothing was changed", "yellow"))
    what = str(task["task_id"]) if named else f"a task {task['name']!r}"
    terminal.line((what, "bold"), _said(answer, new=new))
    terminal.paragraph(str(plan["description"]))
    if plan["fires"]:
        terminal.line()
        terminal.line(("next runs", "bold"))
        terminal.table(FIRE_COLUMNS, [fire_row(fire) for fire in plan["fires"]])
    _show_differences(plan, terminal, new=new)
    _show_transitions(plan, terminal)
    terminal.line()
    terminal.line(_load(plan["load"]))


def _said(answer: Mapping[str, Any], *, new: bool) -> str:
    task, fields = answer["task"], answer["changed_fields"]
    if not fields:
        return " is there already, just like this" if new else " would stay as it is"
    if new:
        return f" would be created, {task['status']}"
    return f" would get version {task['version']}, {task['status']}: {', '.join(fields)} would change"


def _show_differences(plan: Mapping[str, Any], terminal: Terminal, *, new: bool) -> None:
    appear, disappear = plan["appear_count"], plan["disappear_count"]
    window = plan["window"]
    span = shown.duration(_seconds(window["to"]) - _seconds(window["from"]))
    counts = f"{_runs(appear)} would appear, {disappear or 'none'} would disappear"
    terminal.line()
    terminal.line((f"in the coming {span}: {counts}", "bold"))
    if _seconds(window["to"]) - _seconds(window["from"]) < _WHOLE_WINDOW:
        terminal.line(("more would be too many to compare", "dim"))
    if new or not (appear or disappear):
        return  # of a new task, the next runs are those that appear
    rows = [
        *((str(fire["at"]), ("+", *fire_row(fire))) for fire in plan["appear"][:_ROWS]),
        *((str(fire["at"]), ("-", *fire_row(fire))) for fire in plan["disappear"][:_ROWS]),
    ]
    terminal.table(("", *FIRE_COLUMNS), [row for _, row in sorted(rows, key=lambda one: one[0])])
    if max(appear, disappear) > _ROWS:
        terminal.line((f"at most {_ROWS} of each are shown; --json tells up to 50", "dim"))


def _show_transitions(plan: Mapping[str, Any], terminal: Terminal) -> None:
    count = plan["transitions_count"]
    if not count:
        return
    terminal.line()
    terminal.line((f"the clock changes of the coming 400 days touch {_runs(count)}", "bold"))
    columns = ("clock changes (UTC)", "local time", "runs at (UTC)", "")
    terminal.table(columns, list(_transition_rows(plan["transitions"][:_ROWS])))
    if count > _ROWS:
        terminal.line((f"{_ROWS} of {count:,} are shown", "dim"))


def _transition_rows(transitions: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    for one in transitions:
        at = "never: left out" if one["at"] is None else shown.instant(one["at"])
        yield (
            shown.instant(one["change_at"]),
            str(one["local"]),
            at,
            _NOTES.get(one["note"], str(one["note"])),
        )


def _load(load: Mapping[str, Any]) -> str:
    before, after = _pace(load["fires_per_minute_before"]), _pace(load["fires_per_minute_after"])
    peak_before, peak = load["peak_per_minute_before"], load["peak_per_minute_after"]
    return f"load: {after} (now {before}), at most {peak} in one minute (now {peak_before})"


def _pace(per_minute: float) -> str:
    """How many runs there are, in the unit that makes it a number to imagine."""
    if not per_minute:
        return "no runs"
    # In the largest share of a day that has a whole run; the last one where none has.
    paces = ((per_minute, "minute"), (per_minute * 60, "hour"), (per_minute * 1440, "day"))
    rate, unit = next((pace for pace in paces if pace[0] > 0.99), paces[-1])
    number = f"{rate:.3g}"
    return f"{number} run{'' if number == '1' else 's'} a {unit}"


def _runs(count: int) -> str:
    return f"{count:,} run" + ("" if count == 1 else "s") if count else "no run"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()
