"""What the commands that speak HTTP have in common: an id in a path, and an answer as it came."""

from __future__ import annotations

import argparse
from urllib.parse import quote

import msgspec

from gnomon_cli.api_client import Answer
from gnomon_cli.errors import CliError
from gnomon_cli.terminal import Terminal

__all__ = ["as_json", "path_part"]


def as_json(options: argparse.Namespace, terminal: Terminal, answer: Answer) -> bool:
    """With --json write the answer as it came; tells whether that was asked for."""
    if options.json:
        terminal.raw(msgspec.json.format(answer.raw or b"null", indent=2))
    return bool(options.json)


def path_part(some_id: str) -> str:
    """An id as part of a path.

    A hostile one is the api's to refuse, but it must reach it as it was typed. Raises `CliError` for an empty one.
    """
    if not some_id:
        raise CliError("the id is empty", hint="`list` of the same command shows the ids there are")
    return quote(some_id, safe="")
