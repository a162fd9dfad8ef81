"""Where the commands that speak HTTP find Gnomon: `--url`, else `GNOMON_URL`, else `DIR/run.json` of `gnomon
up`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gnomon_cli.errors import CliError, UsageError
from gnomon_cli.settings import CliSettings
from gnomon_cli.up.run_file import RunFileError, read_run_file

__all__ = ["DEFAULT_DATA", "Target", "find_target"]

DEFAULT_DATA = Path(".gnomon")
"""The data folder where none is named."""


class Target(NamedTuple):
    """An address of the api without path, the bearer token if any, and where we have that from."""

    url: str
    token: str | None
    source: str


def find_target(url: str | None, data: Path | None, environ: Mapping[str, str] = os.environ) -> Target:
    """Find the api.

    Raises `CliError` when nothing says where it is, `UsageError` for an address that is none.
    """
    settings = CliSettings.load(environ)
    token = settings.token
    if url is not None:
        return Target(_checked(url, "--url"), token, "--url")
    # A folder that was named on the command line is meant more than a variable set long ago.
    if data is None and settings.url is not None:
        return Target(_checked(settings.url, "GNOMON_URL"), token, "GNOMON_URL")
    folder = data or DEFAULT_DATA
    try:
        found = read_run_file(folder)
    except FileNotFoundError:
        raise CliError(
            f"no Gnomon is known here: there is no {folder / 'run.json'}",
            hint="start one with `gnomon up`, name its folder with --data DIR, or set GNOMON_URL",
        ) from None
    except RunFileError as error:
        raise CliError(str(error), hint="set GNOMON_URL to the address of a Gnomon, or start one") from None
    return Target(found.url, token, str(folder / "run.json"))


def _checked(url: str, what: str) -> str:
    try:
        parsed = urlsplit(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.hostname) and parsed.port != 0
    except ValueError:  # of the port
        usable = False
    if not usable:
        raise UsageError(f"{what} is {url!r}: allowed is an address like http://127.0.0.1:8080")
    return url.rstrip("/")
