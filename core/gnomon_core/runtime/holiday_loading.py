"""The library of holidays, imported beside an event loop instead of in it.

Importing it takes a second, in which a loop would hand out no slot and keep no lease alive. So whoever is about to
decide or to take in something that may name holidays asks here first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from gnomon_core import holiday_dates

__all__ = ["holidays_at_hand"]

_NAMED: Final = b'"holidays"'


async def holidays_at_hand(payloads: Iterable[bytes]) -> None:
    """Return at once where no payload (JSON) names holidays, or the library is there; else when a thread has got it."""
    if not holiday_dates.is_loaded() and any(_NAMED in payload for payload in payloads):
        await asyncio.to_thread(holiday_dates.load)
