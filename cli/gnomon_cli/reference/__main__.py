"""`python -m gnomon_cli.reference [--check]`: writes `docs/reference`, or tells which pages are not current.

Run in the root of the repository. With --check nothing is written, and the exit code is 1 when a page differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gnomon_cli.reference.command_line import command_line_page
from gnomon_cli.reference.environment import environment_page
from gnomon_cli.reference.metrics import metrics_page

__all__ = ["FOLDER", "main", "rendered"]

FOLDER = Path("docs/reference")


def rendered() -> dict[Path, bytes]:
    """Every file with what it should hold."""
    return {
        FOLDER / "cli.md": command_line_page().encode(),
        FOLDER / "environment.md": environment_page().encode(),
        FOLDER / "metrics.md": metrics_page().encode(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the pages; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gnomon_cli.reference")
    parser.add_argument("--check", action="store_true", help="only say whether the pages are current")
    check = parser.parse_args(arguments).check
    stale = [
        (path, text) for path, text in rendered().items() if not path.exists() or path.read_bytes() != text
    ]
    for path, text in stale:
        if check:
            print(f"{path} is not current: run `python -m gnomon_cli.reference`", file=sys.stderr)
        else:
            path.write_bytes(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
