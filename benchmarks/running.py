"""Running questions: each in each mode, then the table, the JSON and the plots. Exit code 1 where one failed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import structlog
import uvloop

from benchmarks.machine import machine, versions
from benchmarks.measurement import SCHEMA, Mode, Report, Result
from benchmarks.options import Options, read_options
from benchmarks.table import render_report, render_result
from gnomon_schemas.clock_text import format_instant

__all__ = ["Question", "main", "run", "write_report"]


_LONGEST_SECONDS = 900.0
"""A question that has not been answered by then hangs, unless it says that it takes longer."""


class Question(NamedTuple):
    """One benchmark."""

    name: str
    measure: Callable[[Mode, Options], Awaitable[Result]]
    longest: float = _LONGEST_SECONDS
    """Seconds after which it hangs."""


def main(questions: Sequence[Question], doc: str | None, arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run, print, write and draw; the exit code."""
    options = read_options(arguments, [each.name for each in questions], (doc or "").strip().splitlines()[0])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    chosen = [each for each in questions if not options.only or each.name in options.only]
    report = run(chosen, options)
    print(render_report(report))
    for path in write_report(report, options, whole=len(questions) > 1):
        print(f"written: {path}")
    return 1 if any(result.failure for result in report.results) else 0


def run(questions: Sequence[Question], options: Options) -> Report:
    """Ask every question in every mode, and tell each answer as soon as it is there."""
    began = format_instant(datetime.now(UTC))
    results: list[Result] = []
    for question in questions:
        for mode in options.modes:
            print(f"-- {question.name}, {mode} …", file=sys.stderr, flush=True)
            result = ask(question, mode, options)
            print(render_result(result), file=sys.stderr, flush=True)
            results.append(result)
    return Report(
        schema=SCHEMA,
        began=began,
        machine=machine(),
        versions=versions(),
        options=msgspec.to_builtins(
            msgspec.structs.replace(options, out=options.out.absolute()), enc_hook=str
        )
        | {"modes": ",".join(options.modes), "only": ",".join(options.only), "out": options.out.name},
        results=tuple(results),
    )


def ask(question: Question, mode: Mode, options: Options) -> Result:
    """The answer to one question; a failure is one too, and the questions behind it are asked all the same."""
    load, begun = os.getloadavg(), time.perf_counter()
    try:
        result = uvloop.run(asyncio.wait_for(question.measure(mode, options), question.longest))
    except Exception as error:  # noqa: BLE001 - told in the table, in the JSON and by the exit code
        traceback.print_exc()
        result = Result(
            question=question.name,
            title=question.name,
            mode=mode,
            settings={},
            figures=(),
            failure=f"{type(error).__name__}: {error}",
        )
    return msgspec.structs.replace(result, load_before=load, seconds=round(time.perf_counter() - begun, 1))


def write_report(report: Report, options: Options, *, whole: bool) -> list[str]:
    """Write JSON and plots; the names of the files. A question run alone leaves `latest.json` alone."""
    from benchmarks.plots import draw  # matplotlib takes half a second that a measurement should not share

    options.out.mkdir(parents=True, exist_ok=True)
    name = "latest" if whole else "-".join(sorted({result.question for result in report.results}))
    path = options.out / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return [str(path), *map(str, draw(report, options.out))]
