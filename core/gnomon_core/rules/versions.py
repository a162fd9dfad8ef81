"""`If-Match`: the version of a task or another object that a caller has seen."""

from __future__ import annotations

from gnomon_schemas.problems import Code, Refused

__all__ = ["check_version"]


def check_version(if_match: str | None, version: int, what: str = "task") -> None:
    """Make sure that an object is at the version that a caller names, or at one of several with commas; without one,
    or with `*`, it is.

    Raises Refused.
    """
    if if_match is None or if_match.strip() == "*":
        return
    named = [tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")]
    if str(version) not in named:
        raise Refused(Code.VERSION_MISMATCH, f"If-Match is {if_match}, the {what} is at version {version}")
