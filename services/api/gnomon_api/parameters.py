"""Parameters of a query string, read alike by every route, with everything wrong with them told at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from gnomon_core.rules.decoding import refuse, wrong
from gnomon_schemas import clock_text
from gnomon_schemas.problems import Code, FieldError

__all__ = ["SEQUENCE_MAX", "Parameters", "two_numbers", "whole_number", "with_plus"]

SEQUENCE_MAX: Final = 1 << 62
"""No sequence of a stream is greater, and Postgres compares it with any other."""
_DIGITS_MAX: Final = len(str(SEQUENCE_MAX))
_TWO_NUMBERS: Final = re.compile(r"(\d{1,18})-(\d{1,9})", re.ASCII)


def whole_number(text: str, least: int, most: int) -> int | None:
    """The number that a text is, where it is one of these; None otherwise. At most `SEQUENCE_MAX`.

    A text of more digits than any number of ours is none, also where zeros lead.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        return None
    number = int(text)
    return number if least <= number <= most else None


def two_numbers(text: str) -> tuple[int, int] | None:
    """The place in a log that a text like `1234-5` names; None where it names none."""
    match = _TWO_NUMBERS.fullmatch(text)
    return None if match is None else (int(match[1]), int(match[2]))


def with_plus(text: str) -> str:
    """An instant of a query string as it was meant: a plus that was not encoded arrives as a space, and no instant has
    one before its offset."""
    return text.replace(" ", "+") if text.count(" ") == 1 and "T" in text.upper() else text


class Parameters:
    """What a query string gives. A reader whose parameter is wrong notes that and returns None: `refuse` tells all."""

    def __init__(self, given: Iterable[tuple[str, str]], *known: str) -> None:
        """`given`: names and values in order. What is not `known` is wrong, and so is a name that comes twice."""
        self._texts: dict[str, str] = {}
        self._errors: list[FieldError] = []
        for name, text in given:
            if name not in known:
                allowed = ", ".join(sorted(known))
                message = f"the parameter {name[:80]!r} is not known; allowed: {allowed}"
                self._errors += wrong(f"#/{name[:80]}", message, Code.UNKNOWN_FIELD)
            elif name in self._texts:
                self.wrong(name, "is given twice; several values go with commas")
            elif "\x00" in text:
                self.wrong(name, "has a character with code 0")
            else:
                self._texts[name] = text

    def text(self, name: str) -> str | None:
        """A parameter as it was given."""
        return self._texts.get(name)

    def number(self, name: str, least: int, most: int, *, allowed: str | None = None) -> int | None:
        """A whole number. `allowed` says in words what is, where the bounds do not."""
        text = self._texts.get(name)
        if text is None:
            return None
        found = whole_number(text, least, most)
        if found is None:
            self.wrong(name, f"is {text[:80]!r}; allowed: {allowed or f'{least} to {most}'}")
        return found

    def cursor(self) -> int | None:
        """Where the page begins, as `next_cursor` of the one before said."""
        return self.number("cursor", 0, SEQUENCE_MAX, allowed="what next_cursor said")

    def instant_ms(self, name: str) -> int | None:
        """An instant (RFC 3339), in milliseconds since 1970; never before that (see `clock_text.parse_bound`)."""
        text = self._texts.get(name)
        if text is None:
            return None
        try:
            return clock_text.bound_ms(with_plus(text))
        except ValueError as error:
            self.wrong(name, str(error))
            return None

    def wrong(self, name: str, message: str, code: Code = Code.INVALID) -> None:
        """Note what is wrong with a parameter, or with a part of it."""
        self._errors += wrong(f"#/{name}", message, code)

    def add(self, errors: Iterable[FieldError]) -> None:
        """Note what somebody else found wrong."""
        self._errors += errors

    @property
    def right(self) -> bool:
        """Nothing is wrong so far."""
        return not self._errors

    def refuse(self) -> None:
        """Raise Refused with everything that is wrong, if anything is."""
        refuse(self._errors)
