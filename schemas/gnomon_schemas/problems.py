"""What a refusal looks like, over every door (RFC 9457), and every code there is."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

__all__ = ["CATALOGUE", "Code", "FieldError", "Problem", "Refused", "problem"]


class Code(StrEnum):
    """Stable machine-readable codes of problems; `CATALOGUE` tells status and title of each."""

    NOT_JSON = "not_json"
    INVALID = "invalid"
    INVALID_ID = "invalid_id"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_SCHEDULE = "invalid_schedule"
    UNKNOWN_TASK_TYPE = "unknown_task_type"
    INVALID_CONFIG = "invalid_config"
    UNSUPPORTED = "unsupported"
    UNKNOWN_VERB = "unknown_verb"
    MISSING_COMMAND_ID = "missing_command_id"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    NOT_FOUND = "not_found"
    TEMPLATE_NOT_FOUND = "template_not_found"
    TEMPLATE_INACTIVE = "template_inactive"
    SUBSCRIPTION_REQUIRED = "subscription_required"
    FORBIDDEN = "forbidden"
    ALREADY_EXISTS = "already_exists"
    DELETED = "deleted"
    INVALID_STATE = "invalid_state"
    OVERLAP = "overlap"
    LIMIT = "limit"
    ACCOUNT_LIMIT = "account_limit"
    ACCOUNT_REQUIRED = "account_required"
    ACCOUNT_CLOSED = "account_closed"
    VERSION_MISMATCH = "version_mismatch"
    TOO_LARGE = "too_large"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNAVAILABLE = "unavailable"
    UNREADABLE_STATE = "unreadable_state"
    INTERNAL = "internal"


class _Entry(NamedTuple):
    status: int
    title: str


CATALOGUE: Final[dict[Code, _Entry]] = {
    Code.NOT_JSON: _Entry(400, "The body is not JSON"),
    Code.INVALID: _Entry(422, "Some fields are not valid"),
    Code.INVALID_ID: _Entry(422, "The id is not valid"),
    Code.UNKNOWN_FIELD: _Entry(422, "A field is not known"),
    Code.INVALID_SCHEDULE: _Entry(422, "The schedule is not valid"),
    Code.UNKNOWN_TASK_TYPE: _Entry(422, "No executor has announced this task type"),
    Code.INVALID_CONFIG: _Entry(422, "The config does not fit the task type's schema"),
    Code.UNSUPPORTED: _Entry(422, "This is not supported yet"),
    Code.UNKNOWN_VERB: _Entry(422, "There is no such command"),
    Code.MISSING_COMMAND_ID: _Entry(422, "The command has no id"),
    Code.IDEMPOTENCY_MISMATCH: _Entry(422, "The idempotency key was used with another body"),
    Code.NOT_FOUND: _Entry(404, "There is no such object"),
    Code.TEMPLATE_NOT_FOUND: _Entry(404, "There is no such template"),
    Code.TEMPLATE_INACTIVE: _Entry(409, "The template is not active"),
    Code.SUBSCRIPTION_REQUIRED: _Entry(403, "The subscription level is too low"),
    Code.FORBIDDEN: _Entry(403, "Not allowed"),
    Code.ALREADY_EXISTS: _Entry(409, "The id is taken"),
    Code.DELETED: _Entry(409, "The id belonged to a deleted task"),
    Code.INVALID_STATE: _Entry(409, "The task's state does not allow this"),
    Code.OVERLAP: _Entry(409, "An execution of the task is still in flight"),
    Code.LIMIT: _Entry(429, "Too many executions are waiting"),
    Code.ACCOUNT_LIMIT: _Entry(403, "The account does not allow so much"),
    Code.ACCOUNT_REQUIRED: _Entry(403, "The user has no account"),
    Code.ACCOUNT_CLOSED: _Entry(403, "The account of the user is closed"),
    Code.VERSION_MISMATCH: _Entry(412, "The task has changed since"),
    Code.TOO_LARGE: _Entry(413, "Too large"),
    Code.METHOD_NOT_ALLOWED: _Entry(405, "The method is not allowed here"),
    Code.UNAVAILABLE: _Entry(503, "Not available now"),
    Code.UNREADABLE_STATE: _Entry(503, "The task's stored state cannot be read"),
    Code.INTERNAL: _Entry(500, "Something went wrong here"),
}
"""HTTP status and title of every code."""


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with an input: where (JSON pointer as URI fragment, `#/schedule/expression`), code, words."""

    pointer: str
    code: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An RFC 9457 problem object. `type` is `urn:gnomon:problem:<code>`; `trace_id` is the W3C trace id."""

    type: str
    title: str
    status: int
    code: Code
    detail: str = ""
    trace_id: str | None = None
    errors: tuple[FieldError, ...] = ()


def problem(code: Code, detail: str = "", *errors: FieldError) -> Problem:
    """The problem object of a code, with words for this occurrence and the fields at fault."""
    entry = CATALOGUE[code]
    return Problem(
        type=f"urn:gnomon:problem:{code}",
        title=entry.title,
        status=entry.status,
        code=code,
        detail=detail,
        errors=errors,
    )


class Refused(Exception):
    """Raised where an input or a command is refused; carries the problem object for the caller."""

    def __init__(self, code: Code, detail: str = "", *errors: FieldError) -> None:
        super().__init__(detail or CATALOGUE[code].title)
        self.problem = problem(code, detail, *errors)

    @classmethod
    def at(cls, pointer: str, message: str, code: Code = Code.INVALID) -> Refused:
        """Refused for one field: `pointer` names it, and `message` says what is wrong with it."""
        return cls(code, f"{pointer}: {message}", FieldError(pointer=pointer, code=code, message=message))
