"""What the client raises. Each carries what a caller needs to go on."""

from __future__ import annotations

from gnomon_schemas.problems import Code, Problem

__all__ = ["GnomonError", "NotAnswered"]


class GnomonError(Exception):
    """Gnomon refused a command; `problem` says why, in the form that HTTP clients get too (RFC 9457)."""

    def __init__(self, problem: Problem, command_id: str) -> None:
        where = "".join(f"; {error.pointer}: {error.message}" for error in problem.errors)
        super().__init__(f"{problem.code}: {problem.detail or problem.title}{where}")
        self.problem = problem
        self.command_id = command_id

    @property
    def code(self) -> Code:
        """The problem's machine-readable code."""
        return self.problem.code


class NotAnswered(TimeoutError):
    """No outcome came in time: whether the command was carried out is unknown.

    Send it again with the same `command_id`: if it had been carried out, its outcome is answered a second
    time and nothing happens twice.
    """

    def __init__(self, subject: str, command_id: str, waited_seconds: float) -> None:
        super().__init__(
            f"no answer to {subject} within {waited_seconds:g} s; whether it was carried out is unknown: "
            f"repeat it with command_id={command_id!r}, which cannot act twice"
        )
        self.subject = subject
        self.command_id = command_id
