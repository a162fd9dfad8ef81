"""Plots: figures against their ceilings as bars, latencies as distributions, throughput over time."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")  # before pyplot is imported: no display is asked for
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from benchmarks.measurement import Figure, Report, Result, Series

__all__ = ["draw"]

_OURS, _CEILING, _AIM = "#2b6cb0", "#a0aec0", "#c05621"


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw what every question found; the files written."""
    written: list[Path] = []
    mpl.rcParams["svg.hashsalt"] = "gnomon"  # the same figures draw the same file
    for result in report.results:
        if not result.figures:
            continue
        stem = f"{result.question}-{result.mode}"
        written.append(_bars(result, folder / f"{stem}.svg"))
        for kind in ("cdf", "rate"):
            series = [one for one in result.series if one.kind == kind]
            if series:
                path = folder / f"{stem}-{kind}.svg"
                written.append(_lines(result, series, kind, path))
    return written


def _bars(result: Result, path: Path) -> Path:
    """One panel a figure, since their units differ: ours, the ceiling, the aim as a line."""
    count = len(result.figures)
    drawing, panels = plt.subplots(count, 1, figsize=(8, 0.6 + 1.1 * count), squeeze=False)
    for panel, figure in zip(panels[:, 0], result.figures, strict=True):
        _panel(panel, figure)
    drawing.suptitle(f"{result.title} ({_mode_words(result)})", fontsize=10)
    return _save(drawing, path)


def _panel(panel: Axes, figure: Figure) -> None:
    names, values, colours = ["measured"], [figure.value], [_OURS]
    if figure.ceiling is not None:
        names.append("ceiling")
        values.append(figure.ceiling)
        colours.append(_CEILING)
    bars = panel.barh(names[::-1], values[::-1], color=colours[::-1])
    panel.bar_label(bars, fmt="{:,.6g}", padding=3, fontsize=8)
    if figure.aim is not None and figure.judged:
        panel.axvline(figure.aim.value, color=_AIM, linestyle="--", linewidth=1)
    panel.set_title(f"{figure.name}, {figure.unit.lstrip('/') or 'count'}", fontsize=8, loc="left")
    panel.tick_params(labelsize=8)
    panel.margins(x=0.15)


def _lines(result: Result, series: list[Series], kind: str, path: Path) -> Path:
    drawing, panel = plt.subplots(figsize=(8, 4))
    for one in series:
        panel.plot(one.x, one.y, "--" if one.ceiling else "-", label=one.name)
    if kind == "cdf":
        panel.set_xscale("log")
        panel.set(xlabel="milliseconds", ylabel="share of all")
    else:
        panel.set(xlabel="seconds", ylabel="a second")
        panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8)
    panel.set_title(f"{result.title} ({_mode_words(result)})", fontsize=10)
    return _save(drawing, path)


def _save(drawing: Drawing, path: Path) -> Path:
    drawing.tight_layout()
    drawing.savefig(path, metadata={"Date": None})
    plt.close(drawing)
    # matplotlib ends lines with blanks, which no editor would leave there.
    path.write_text(re.sub(r"[ \t]+$", "", path.read_text(), flags=re.MULTILINE))
    return path


def _mode_words(result: Result) -> str:
    return "no fsync per write" if result.mode == "fast" else "fsync per write"
