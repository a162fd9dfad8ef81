"""Lines that are heard while somebody follows an execution's log."""

from __future__ import annotations

from typing import cast

import msgspec
from nats.aio.msg import Msg

from gnomon_api.run_log_views import HELD_MAX, LiveLines
from gnomon_core.runtime.bus import NatsBus
from gnomon_schemas.codec import encode
from gnomon_schemas.run_logs import RunLogLine, RunLogLines


class _Heard:
    """A message, as far as a follower looks at it."""

    def __init__(self, first: int, count: int) -> None:
        lines = tuple(
            RunLogLine(
                n=number,
                at="2026-11-21T09:00:00.000Z",
                level="info",
                message="hello",
                details=msgspec.Raw(b"null"),
            )
            for number in range(first, first + count)
        )
        self.data = encode(
            RunLogLines(
                execution_id="t.r-1",
                task_id="t",
                run="r-1",
                user_id=None,
                attempt=1,
                claim=7,
                executor="x1",
                lines=lines,
            )
        )


async def test_a_reader_who_does_not_keep_up_costs_a_bounded_number_of_lines() -> None:
    live = LiveLines(cast("NatsBus", None))
    live.missed = False
    missed = []
    for first in range(1, HELD_MAX + 2, 500):
        await live.take(cast("Msg", _Heard(first, 500)))
        missed.append(live.missed)
    assert missed == [False] * 4 + [True], "what was dropped is stored, and has to be read there"
    assert live.heard() == []
    await live.take(cast("Msg", _Heard(HELD_MAX + 501, 3)))
    assert len(live.heard()) == 3
