"""`python -m gnomon_api.reference [--check]`: writes `docs/reference/openapi.json`, or tells whether it is current.

Run in the root of the repository. With --check nothing is written, and the exit code is 1 when the file differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from gnomon_api.app import document_of

__all__ = ["FILE", "main", "rendered"]

FILE = Path("docs/reference/openapi.json")


def rendered() -> bytes:
    """What the file should hold."""
    document = msgspec.json.encode(document_of(version("gnomon-api")))
    return msgspec.json.format(document, indent=2) + b"\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the file; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gnomon_api.reference")
    parser.add_argument("--check", action="store_true", help="only say whether the file is current")
    if not parser.parse_args(arguments).check:
        FILE.write_bytes(rendered())
        return 0
    if FILE.exists() and FILE.read_bytes() == rendered():
        return 0
    sys.stderr.write(f"{FILE} is not what the routes say: run `python -m gnomon_api.reference`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
