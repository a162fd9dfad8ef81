"""The library of holidays comes in beside the loop, and only when something names holidays."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import asyncio, sys, threading
from gnomon_core import holiday_dates
from gnomon_core.runtime.holiday_loading import holidays_at_hand

async def main():
    await holidays_at_hand([b'{"schedule": {"kind": "daily"}}'])
    print("holidays" in sys.modules)
    turns = 0
    async def turning():
        nonlocal turns
        while not holiday_dates.is_loaded():
            turns += 1
            await asyncio.sleep(0)
    await asyncio.gather(holidays_at_hand([b"{}", b'{"exclude": [{"holidays": "DE"}]}']), turning())
    print("holidays.countries.germany" in sys.modules, holiday_dates.is_loaded(), turns > 10)

asyncio.run(main())
"""


def test_it_is_imported_in_a_thread_by_the_first_payload_that_names_holidays() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "True"]
