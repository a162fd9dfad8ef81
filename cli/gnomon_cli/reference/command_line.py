"""The page of the command line, from the parsers themselves.

Not from `--help`: its text differs between versions of Python. argparse offers nothing else in public, so its lists of
actions are read as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from gnomon_cli.parser import build_parser
from gnomon_schemas.documents.pages import table

__all__ = ["command_line_page", "commands"]

_HEAD = """# Command line

{description} `gnomon <command> --help` tells the same.

Written by `python -m gnomon_cli.reference`.

{overview}
Exit codes: 0 when it went well, 1 when not, 2 when the command was not understood.

| command | what it does |
|---|---|
"""


def commands(
    parser: argparse.ArgumentParser, told: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """(name, parser, what it does) of every command that can be run, below a parser and with itself."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser.prog, parser, told
    for action in below:
        words = {each.dest: each.help or "" for each in action._choices_actions}
        for name, inner in action.choices.items():
            yield from commands(inner, words.get(name, ""))


def command_line_page() -> str:
    """Every command with its arguments."""
    parser = build_parser()
    found = list(commands(parser))
    overview = "```text\n" + (parser.epilog or "").rstrip() + "\n```\n"
    index = "".join(f"| [`{name}`](#{name.replace(' ', '-')}) | {told} |\n" for name, _, told in found)
    sections = "\n".join(_section(name, inner, told) for name, inner, told in found)
    return _HEAD.format(description=parser.description, overview=overview) + index + "\n" + sections


def _section(name: str, parser: argparse.ArgumentParser, told: str) -> str:
    description = parser.description or told
    words = description[0].upper() + description[1:].rstrip(".") + "."
    shown = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    if not shown:
        return f"## {name}\n\n{words}\n"
    rows = [[_spelled(action), action.help or "", _allowed(action)] for action in shown]
    return f"## {name}\n\n{words}\n\n{table(('argument', 'what', 'allowed'), rows)}"


def _spelled(action: argparse.Action) -> str:
    """How it is written: `--every DURATION`, `ID`, `[FILTER ...]`."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    value = "" if action.nargs == 0 else metavar
    if action.nargs == "?":
        value = f"[{value}]"
    elif action.nargs in ("+", "*"):
        value = f"{value} ..." if action.nargs == "+" else f"[{value} ...]"
    names = ", ".join(action.option_strings)
    return f"`{' '.join(part for part in (names, value) if part)}`"


def _allowed(action: argparse.Action) -> str:
    if action.choices is None:
        return "needed" if action.required and action.option_strings else ""
    return ", ".join(f"`{each}`" for each in action.choices)
