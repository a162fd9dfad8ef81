"""Tests that need more than pip: what was skipped is told at the end, where nobody overlooks it."""

from __future__ import annotations

import pytest
from _pytest.terminal import TerminalReporter

_HERE = "tests/e2e/"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Name every test of this folder that was skipped, and why."""
    skipped = [
        report
        for report in terminalreporter.getreports("skipped")
        if isinstance(report, pytest.TestReport) and report.nodeid.startswith(_HERE)
    ]
    if not skipped:
        return
    terminalreporter.section(
        f"NOT TESTED HERE: {len(skipped)} of the e2e tests were skipped", red=True, bold=True
    )
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.line(f"{report.nodeid}: {reason}", red=True)
