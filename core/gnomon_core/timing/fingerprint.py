"""Which calendar reckoned: a short text that changes when the same schedule could have other slots.

A shard keeps the fingerprint beside each revision. A process with another one, after an upgrade, re-plans
openly at an instant instead of moving slots that were promised (`calendars`).
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from typing import Final

from gnomon_core.timing.kept_zones import zones_digest

__all__ = ["calendar_fingerprint", "calendar_versions"]

RULES_VERSION: Final = 1
"""Of this package; raised with every change that can move a slot."""


@cache
def calendar_versions() -> dict[str, str]:
    """The versions of all that decides slots, for messages that name an old and a new calendar."""
    return {
        "croniter": version("croniter"),
        "gnomon_rules": str(RULES_VERSION),
        # Not by the library's bare name: `"holidays"` in a message says that a schedule in it needs the library.
        "python-holidays": version("holidays"),
        "tzdata": version("tzdata"),
    }


@cache
def calendar_fingerprint() -> str:
    """Sixteen hexadecimal digits over `calendar_versions` and the rules of all zones."""
    text = json.dumps(calendar_versions(), sort_keys=True) + zones_digest()
    return blake2b(text.encode(), digest_size=8).hexdigest()
