"""What goes wrong at the command line, as help: what happened, where, what is allowed, what to do next.

Exit codes: 0 done; 1 refused, failed or not reachable; 2 the command itself was not understood.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FAILED", "OK", "USAGE", "CliError", "UsageError"]

OK = 0
FAILED = 1
USAGE = 2


class CliError(Exception):
    """Ends the command with exit code 1.

    `message` is one line; `details` say where; `hint` says what to do next.
    """

    exit_code = FAILED

    def __init__(self, message: str, *, details: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.hint = hint

    def lines(self) -> list[str]:
        """The error as lines for the terminal."""
        lines = [f"error: {self.message}", *(f"  {detail}" for detail in self.details)]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return lines


class UsageError(CliError):
    """The arguments cannot be what was meant; exit code 2."""

    exit_code = USAGE
