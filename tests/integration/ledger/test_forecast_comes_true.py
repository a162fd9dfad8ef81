"""What is forecast is what then fires: dense schedules of every kind, on a real system, slot for slot."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Final

import pytest

from gnomon_schemas.clock_text import format_instant, instant_ms, parse_slot_run
from tests.harness.commands import fresh_id
from tests.harness.read_models import caught_up
from tests.harness.world import now_ms
from tests.integration.ledger.place import Place

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SECONDS: Final = 12
PER_KIND: Final = 4


def kinds(begin_ms: int) -> list[dict[str, Any]]:
    """Schedules that all have slots in a dozen seconds from an instant on, and in no others."""
    bounds = {
        "start_at": format_instant(begin_ms),
        "end_at": format_instant(begin_ms + SECONDS * 1000),
        "timezone": "Asia/Kathmandu",
    }
    once = format_instant(begin_ms + 5000)
    return [
        {"kind": "interval", "every_seconds": 1, **bounds},
        {"kind": "interval", "every_seconds": 5, **bounds},
        {"kind": "cron", "expression": "*/2 * * * * *", **bounds},
        {"kind": "cron", "expression": "1-59/3 * * * * *", "jitter_seconds": 2, **bounds},
        {"kind": "once", "at": once},
        {
            "kind": "any_of",
            "schedules": [
                {"kind": "interval", "every_seconds": 3},
                {"kind": "cron", "expression": "*/4 * * * * *"},
            ],
            **bounds,
        },
    ]


async def test_the_forecast_equals_what_then_fires(place: Place) -> None:
    begin_ms = now_ms() // 1000 * 1000 + 8000
    schedules = kinds(begin_ms)
    span = {
        "from": format_instant(begin_ms),
        "to": format_instant(begin_ms + 120_000),
        "bucket": 60,
    }
    # First as schedules that do not exist yet, then as tasks: the same.
    add = [
        {"schedule": schedule, "tasks": PER_KIND} for schedule in schedules if schedule["kind"] != "interval"
    ]
    intended = await place.post("/forecast", {"add": add}, **span)
    tasks = {fresh_id("f"): schedule for schedule in schedules for _ in range(PER_KIND)}
    await asyncio.gather(
        *(
            place.world.commands.create(task, schedule=schedule, overlap="allow")
            for task, schedule in tasks.items()
        )
    )
    await caught_up(place.world, place.postgres_url)
    assert now_ms() < begin_ms, "the tasks are there before their first slot"
    forecast = await place.get("/forecast", **span)
    assert forecast["tasks"] == len(tasks)
    assert intended["tasks"] == len(add) * PER_KIND
    await place.world.settled(begin_ms + (SECONDS + 3) * 1000, within=60)
    fired: Counter[int] = Counter()
    of_intervals = 0
    for seen in place.world.events.of("executed"):
        nominal = parse_slot_run(seen.run)
        if seen.task_id in tasks and nominal is not None:
            fired[int(nominal.timestamp()) * 1000] += 1
            of_intervals += tasks[seen.task_id]["kind"] == "interval"
    assert sum(fired.values()) == forecast["total"]
    assert sum(fired.values()) - of_intervals == intended["total"]
    starts = [instant_ms(bucket["at"]) for bucket in forecast["buckets"]]
    per_bucket = [
        sum(count for at, count in fired.items() if start <= at < start + 60_000) for start in starts
    ]
    assert per_bucket == [bucket["fires"] for bucket in forecast["buckets"]]
    audit = await place.get(
        "/ledger/audit", since=span["from"], until=format_instant(begin_ms + SECONDS * 1000)
    )
    assert (audit["sound"], audit["expected"], audit["outcomes"]["executed"]) == (
        True,
        forecast["total"],
        forecast["total"],
    )
