"""The rules of zones as bytes, and zones made of rules that were kept.

The rules of a zone are its file (TZif, RFC 9636): all its changes that are known, and in words those that follow. The
process's own come from the `tzdata` wheel. Rules of another release, kept somewhere, make a zone beside it: under a
name of its own, by which timetables and their memories know it like any other. The name has a digest of the rules in
it, so it never means anything else.
"""

from __future__ import annotations

import importlib.resources
import io
import struct
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from zoneinfo import ZoneInfo

from gnomon_schemas.zones import zone

__all__ = ["keep_zone", "zone_named", "zone_rules", "zones_digest"]

_MARK: Final = "@"
"""Between the name of a zone and the digest of its rules; in no IANA name."""
_kept: Final[dict[str, ZoneInfo]] = {}


@lru_cache(maxsize=1024)
def zone_rules(name: str) -> bytes:
    """The process's own rules of a zone. Raises ValueError where there is no such zone."""
    zone(name)
    return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def keep_zone(name: str, rules: bytes) -> str:
    """Have a zone of these rules beside the process's own: the name by which a stored schedule may have it.

    Raises ValueError for bytes that are no rules.
    """
    kept = f"{name}{_MARK}{blake2b(rules, digest_size=8).hexdigest()}"
    if kept not in _kept:
        try:
            _kept[kept] = ZoneInfo.from_file(io.BytesIO(rules), key=kept)
        except (struct.error, IndexError, EOFError, UnicodeError) as error:
            # What the reader says of a file that is cut off.
            raise ValueError(f"no rules of a zone: {error}") from error
    return kept


def zone_named(name: str) -> ZoneInfo:
    """A zone of the process, or one that is kept. Raises ValueError for any other name."""
    return _kept[name] if name in _kept else zone(name)


def zones_digest() -> str:
    """A digest of all rules of the process: of what is there, whatever version it says it is."""
    root = importlib.resources.files("tzdata")
    digest = blake2b(digest_size=8)
    for name in sorted(root.joinpath("zones").read_text("utf-8").split()):
        digest.update(root.joinpath("zoneinfo", *name.split("/")).read_bytes())
    return digest.hexdigest()
