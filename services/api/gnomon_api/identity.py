"""Who is asking.

With `GNOMON_AUTH=none` everybody is who they say they are, and an admin: the user is the `X-User-Id` header,
else `local`. Other ways of knowing a caller come in here, and nowhere else.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gnomon_schemas.headers import ADMIN_ROLE
from gnomon_schemas.limits import USER_ID_MAX_CHARS
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["LOCAL_USER", "USER_HEADER", "Caller", "caller_of", "check_user_id"]

LOCAL_USER: Final = "local"
"""The user of a request that names none."""
USER_HEADER: Final = "x-user-id"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The acting user of a request."""

    user_id: str
    roles: frozenset[str]

    @property
    def admin(self) -> bool:
        """Whether everybody's objects are the caller's to see and change."""
        return ADMIN_ROLE in self.roles


def caller_of(user_header: str | None) -> Caller:
    """The caller of a request with this `X-User-Id`. Raises Refused for one that is no user id."""
    user_id = LOCAL_USER if user_header is None else check_user_id(_as_sent(user_header), "X-User-Id")
    return Caller(user_id=user_id, roles=frozenset({ADMIN_ROLE}))


def _as_sent(header: str) -> str:
    """HTTP hands headers over as Latin-1; callers send UTF-8."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return header


def check_user_id(text: str, where: str) -> str:
    """A user id: printable text of 1 to 255 characters without spaces around it. Raises Refused."""
    if not 1 <= len(text) <= USER_ID_MAX_CHARS or not text.isprintable() or text != text.strip():
        message = f"is {text[:80]!r}; allowed: 1 to {USER_ID_MAX_CHARS} printable characters"
        raise Refused(
            Code.INVALID_ID,
            f"{where} {message}",
            FieldError(pointer=f"#/{where}", code=Code.INVALID_ID, message=message),
        )
    return text
