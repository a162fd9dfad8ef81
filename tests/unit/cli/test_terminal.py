"""Writing never fails, whatever becomes of the terminal, and cuts nothing where no terminal is."""

from __future__ import annotations

import io
import os

from rich.text import Text
from typing_extensions import override

from gnomon_cli.terminal import Terminal


class _Tty(io.StringIO):
    """A stream that a person looks at."""

    @override
    def isatty(self) -> bool:
        return True


def test_a_reader_that_has_gone_ends_the_writing_and_nothing_else() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        terminal = Terminal(stream)
        terminal.line("heard")
        os.close(reader)
        for _ in range(3):
            terminal.line("unheard")
            terminal.table(["id"], [["t1"]])
            terminal.raw(b"{}")


def test_without_a_terminal_lines_and_tables_are_plain_and_whole() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream)
    terminal.line(("x" * 300, "red"), " end")
    terminal.table(["id", "name"], [["t" * 64, "n" * 255]])
    line, header, row = stream.getvalue().splitlines()
    assert line == "x" * 300 + " end"
    assert header.split() == ["id", "name"]
    assert row.split() == ["t" * 64, "n" * 255]


def test_a_table_on_a_narrow_terminal_keeps_every_column_and_the_first_one_whole() -> None:
    stream = _Tty()
    terminal = Terminal(stream, width=80)
    row = ["2026-11-22 04:40:18.176Z", "retrying", "70", "attempt 1 failed: " + "no answer " * 9 + "end"]
    terminal.table(["at (UTC)", "what", "sequence", ""], [row])
    lines = Text.from_ansi(stream.getvalue()).plain.splitlines()
    assert lines[1].startswith("2026-11-22 04:40:18.176Z  retrying  70")
    assert "end" in lines[-1]
    assert all(len(line) <= 80 for line in lines)
