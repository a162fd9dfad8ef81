"""Writing never fails, whatever becomes of the terminal, and cuts nothing where no terminal is."""

from __future__ import annotations

import io
import os

from gnomon_cli.terminal import Terminal


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
