"""`python -m gnomon_cli.env_example [--check]`: writes `.env.example` from the settings, or checks that it is
current.

Run in the root of the repository. With --check nothing is written, and the exit code is 1 when the file
differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gnomon_api.settings import ApiSettings
from gnomon_cli.settings import CliSettings
from gnomon_core.runtime.otel_settings import OtelSettings
from gnomon_core.runtime.settings import CommonSettings, render_env_example
from gnomon_executor.settings import ExecutorSettings
from gnomon_scheduler.settings import SchedulerSettings

__all__ = ["SETTINGS", "main", "rendered"]

FILE = Path(".env.example")
SETTINGS = (CommonSettings, SchedulerSettings, ExecutorSettings, ApiSettings, CliSettings, OtelSettings)
"""Every class of settings, in the order in which documents show them."""


def rendered() -> str:
    """What the file should hold."""
    text = render_env_example(SETTINGS)
    return text.rstrip("\n") + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the file; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gnomon_cli.env_example")
    parser.add_argument("--check", action="store_true", help="only say whether the file is current")
    options = parser.parse_args(arguments)
    if not options.check:
        FILE.write_text(rendered())
        return 0
    if FILE.exists() and FILE.read_text() == rendered():
        return 0
    print(f"{FILE} is not what the settings say: run `python -m gnomon_cli.env_example`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
