"""Writing to the terminal: lines with a little colour, plain lines where there is no terminal.

Whatever becomes of the terminal (a closed window, `| head`), writing never fails: what runs behind it is more
important than what is shown. From the first failure on nothing is written any more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import override

__all__ = ["Terminal"]

_PLAIN_WIDTH = 10_000
"""Without a terminal nothing is cut or wrapped: whoever reads it is a program, or scrolls sideways."""


class _Console(Console):
    """Rich's console, but a reader that has gone is an error like any other, and not the end of the program."""

    @override
    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is handled: hand it on."""
        raise BrokenPipeError


class Terminal:
    """One output stream. `tty` tells whether a person looks at it; colours follow that, and NO_COLOR.

    `width` in columns is that of the terminal, unless given.
    """

    def __init__(self, stream: TextIO | None = None, *, width: int | None = None) -> None:
        stream = stream or sys.stdout
        self.tty = stream.isatty()
        self._stream = stream
        self._gone = False
        self._console = _Console(
            file=stream,
            highlight=False,
            markup=False,
            emoji=False,
            width=width if self.tty else _PLAIN_WIDTH,
        )

    def line(self, *parts: str | tuple[str, str]) -> None:
        """Write one line of parts, each a text or (text, style).

        On a terminal a line too long is cut, not wrapped.
        """
        text = Text.assemble(*parts)
        self._write(text, crop=True)

    def paragraph(self, text: str, style: str = "") -> None:
        """Write text that may be longer than a line, and is wrapped on a terminal."""
        self._write(Text(text, style=style), crop=False)

    def raw(self, content: bytes) -> None:
        """Write what is meant for programs, byte by byte, with a newline at the end."""
        if self._gone:
            return
        with self._guarded():
            self._stream.flush()
            self._stream.buffer.write(content.rstrip(b"\n") + b"\n")
            self._stream.flush()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
        """Write a table without frame.

        Nothing is cut: where the terminal is too narrow every column but the first, of ids or times, is wrapped.
        """
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        longest = max((len(str(row[0])) for row in rows), default=0)
        for number, column in enumerate(columns):
            if number == 0:
                table.add_column(column, no_wrap=True, min_width=longest)
            else:
                table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._write(table, crop=False)

    @contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """While the block runs, a terminal shows that something goes on; elsewhere nothing is shown."""
        if not self.tty or self._gone:
            yield
            return
        with self._console.status(Text(what), spinner="line", spinner_style="dim"):
            yield

    def _write(self, what: Text | Table, *, crop: bool) -> None:
        if self._gone:
            return
        with self._guarded():
            if crop:
                self._console.print(what, no_wrap=True, overflow="ellipsis", crop=True)
            else:
                self._console.print(what)
            self._stream.flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):
            self._gone = True
            self._discard()

    def _discard(self) -> None:
        """Send what is still buffered nowhere, or the interpreter complains about it at its exit."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            # Closed, or never a file: then there is nothing to flush at the exit.
            return
