"""The commands that pages name in passing exist, with these verbs and flags; blocks of commands are run elsewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Final

import pytest

from gnomon_cli.parser import build_parser

ROOT: Final = Path(__file__).parents[3]
PAGES: Final = sorted(
    page
    for page in (
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
    )
    if page.parent.name != "reference"
)
_NAMED: Final = re.compile(r"`(?:\.venv/bin/)?gnomon ([a-z][^`]*)`")


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below a parser, by name; none where it has none."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def wrong(command: str, parser: argparse.ArgumentParser) -> str | None:
    """What is wrong with a command as a page has it; None: nothing."""
    words = command.split()
    while words and (below := verbs_of(parser)):
        if words[0] in below:
            parser = below[words.pop(0)]
        elif words[0] == "…":
            return None
        else:
            return f"there is no {words[0]!r}: {', '.join(below)}"
    flags = {flag for action in parser._actions for flag in action.option_strings}
    unknown = [
        word
        for word in words
        if re.match(r"--[a-z]", word) and word.partition("=")[0].rstrip(",") not in flags
    ]
    return f"there is no {unknown[0]}" if unknown else None


def test_what_is_not_there_would_be_found() -> None:
    parser = build_parser()
    assert wrong("delete TASK", parser) is not None
    assert wrong("task remove ID", parser) is not None
    assert wrong("task list --colour", parser) is not None
    assert wrong("task list --overdue", parser) is None
    assert wrong("task …", parser) is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_named_in_passing_exist(page: Path) -> None:
    parser = build_parser()
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert [f"{found}: {why}" for found in _NAMED.findall(text) if (why := wrong(found, parser))] == []
