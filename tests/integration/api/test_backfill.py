"""Backfills over HTTP: which slots they are about, told before and sent by name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gnomon_core.runtime.clock import SystemClock
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.tasks import Trigger
from tests.integration.api.conftest import Running
from tests.integration.api.test_http_tasks import API, create, is_problem

HOUR = 3600
NOON = 1_790_000_000 // 86_400 * 86_400 + 12 * HOUR
"""Of a day that has passed."""


def text(second: int) -> str:
    return format_instant(second * 1000)


async def hourly(running: Running) -> dict[str, Any]:
    return await create(running, schedule={"kind": "cron", "expression": "0 * * * *"})


async def ask(running: Running, task_id: str, **fields: Any) -> httpx.Response:
    return await running.http.post(f"{API}/tasks/{task_id}/backfill", json=fields)


async def told(running: Running, task_id: str, **fields: Any) -> dict[str, Any]:
    response = await ask(running, task_id, **fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def run_slot(
    running: Running, task_id: str, slot: int, status: str = "completed", **fields: Any
) -> None:
    task = running.responder.tasks[task_id]
    run = fields.pop("run", slot_run(slot))
    common = {"scheduled_for": text(slot), "due_at": text(slot), "trigger": Trigger.SCHEDULE, **fields}
    if status == "running":
        await running.responder.start(task, run, **common)
    else:
        await running.responder.run_to_end(task, run, status=status, **common)


async def test_gaps_are_slots_without_a_success_and_nothing_at_work(running: Running) -> None:
    task_id = (await hourly(running))["task_id"]
    await run_slot(running, task_id, NOON)
    await run_slot(running, task_id, NOON + HOUR, "failed")
    await run_slot(running, task_id, NOON + 2 * HOUR, "running")
    backfilled = f"b-c1-{slot_run(NOON + 3 * HOUR)}"
    await run_slot(running, task_id, NOON + 3 * HOUR, run=backfilled, trigger=Trigger.BACKFILL)
    # A run on demand at the very time of a slot is not that slot's.
    await run_slot(running, task_id, NOON + 4 * HOUR, run="r-c2", trigger=Trigger.MANUAL)
    span = {"from": text(NOON), "to": text(NOON + 6 * HOUR)}
    before = len(running.responder.heard)
    dry = await told(running, task_id, **span, dry_run=True)
    assert (dry["dry_run"], dry["count"], dry["backfill_id"]) == (True, 3, None)
    assert dry["slots"] == [text(NOON + hours * HOUR) for hours in (1, 4, 5)]
    assert (dry["from"], dry["to"]) == (span["from"], span["to"])
    assert len(running.responder.heard) == before
    begun = await told(running, task_id, **span, concurrency=7)
    sent = running.responder.backfills[begun["backfill_id"]]
    assert list(sent.slots or ()) == dry["slots"]
    assert (sent.from_, sent.to, sent.only, sent.concurrency) == (span["from"], span["to"], "gaps", 7)
    (under_way,) = begun["task"]["backfills"]
    assert (under_way["backfill_id"], under_way["total"]) == (begun["backfill_id"], 3)
    read = await running.http.get(f"{API}/tasks/{task_id}")
    assert read.json()["backfills"] == begun["task"]["backfills"]


async def test_all_of_a_span_is_left_to_the_shard(running: Running) -> None:
    task_id = (await hourly(running))["task_id"]
    span = {"from": text(NOON - 100 * HOUR), "to": text(NOON)}
    dry = await told(running, task_id, **span, only="all", dry_run=True)
    assert (dry["count"], len(dry["slots"])) == (100, 50)
    begun = await told(running, task_id, **span, only="all")
    assert running.responder.backfills[begun["backfill_id"]].slots is None


async def test_nothing_to_run_is_no_backfill(running: Running) -> None:
    task_id = (await hourly(running))["task_id"]
    await run_slot(running, task_id, NOON)
    before = len(running.responder.heard)
    answer = await told(running, task_id, **{"from": text(NOON), "to": text(NOON + HOUR)})
    assert (answer["count"], answer["backfill_id"], answer["dry_run"]) == (0, None, False)
    assert len(running.responder.heard) == before


async def test_without_an_end_a_span_goes_up_to_now(running: Running) -> None:
    task_id = (await hourly(running))["task_id"]
    now_s = SystemClock().now_ms() // 1000
    dry = await told(running, task_id, **{"from": text(now_s - 10 * HOUR), "dry_run": True})
    assert dry["count"] in (10, 11)


async def test_a_backfill_is_cancelled_by_its_id(running: Running) -> None:
    task_id = (await hourly(running))["task_id"]
    begun = await told(running, task_id, **{"from": text(NOON), "to": text(NOON + HOUR)})
    url = f"{API}/tasks/{task_id}/backfills/{begun['backfill_id']}"
    assert (await running.http.delete(url)).status_code == 204
    assert (await running.http.get(f"{API}/tasks/{task_id}")).json()["backfills"] == []
    is_problem(await running.http.delete(url), 404, "not_found")
    is_problem(await running.http.delete(f"{API}/tasks/{task_id}/backfills/a.b"), 422, "invalid_id")


async def test_a_task_shows_how_far_its_backfills_are(running: Running) -> None:
    """Counted from their executions: the event that began them told only how it was then."""
    task_id = (await hourly(running))["task_id"]
    begun = await told(running, task_id, **{"from": text(NOON), "to": text(NOON + 3 * HOUR)})
    backfill_id = begun["backfill_id"]

    async def run(hours: int, status: str) -> None:
        run_id = f"b-{backfill_id}-{slot_run(NOON + hours * HOUR)}"
        slot = NOON + hours * HOUR
        await run_slot(running, task_id, slot, status, run=run_id, trigger=Trigger.BACKFILL)
        # Asked for the gaps, the api waits until its read models have what is stored.
        await told(running, task_id, **{"from": text(NOON), "to": text(NOON + HOUR), "dry_run": True})

    async def shown(in_list: bool = False) -> list[tuple[int, int, int]]:
        url = f"{API}/tasks?task_type=echo&limit=500" if in_list else f"{API}/tasks/{task_id}"
        body = (await running.http.get(url)).json()
        task = next(one for one in body["items"] if one["task_id"] == task_id) if in_list else body
        return [(each["total"], each["left"], each["in_flight"]) for each in task["backfills"]]

    assert await shown() == [(3, 3, 0)]
    await run(0, "completed")
    await run(1, "running")
    assert await shown() == await shown(in_list=True) == [(3, 1, 1)]
    await run(2, "failed")
    assert await shown() == [(3, 0, 1)]
    await run(1, "completed")
    assert await shown() == await shown(in_list=True) == []


async def test_sent_again_with_its_key_it_is_the_same_backfill(running: Running) -> None:
    task_id = (await hourly(running))["task_id"]
    key = {"Idempotency-Key": f"key-{task_id}"}
    span = {"from": text(NOON), "to": text(NOON + HOUR)}
    url = f"{API}/tasks/{task_id}/backfill"
    first, second = [await running.http.post(url, json=span, headers=key) for _ in range(2)]
    assert first.json()["backfill_id"] == second.json()["backfill_id"]
    assert len(second.json()["task"]["backfills"]) == 1


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"to": text(NOON)}, "#/from"),
        ({"from": "noon", "to": text(NOON)}, "#/from"),
        ({"from": text(NOON), "to": "2999-01-01T00:00:00Z"}, "#/to"),
        ({"from": text(NOON), "to": text(NOON)}, "#/to"),
        ({"from": text(NOON + 1), "to": text(NOON + HOUR), "only": "all"}, "#/from"),
        ({"from": text(NOON), "to": text(NOON + HOUR), "concurrency": 101}, "#/concurrency"),
        ({"from": text(NOON), "to": text(NOON + HOUR), "slots": []}, "#/slots"),
        ({"from": text(NOON - 1001 * HOUR), "to": text(NOON)}, "#/to"),
    ],
)
async def test_what_is_wrong_is_refused_and_nothing_is_sent(
    running: Running, fields: dict[str, Any], pointer: str
) -> None:
    task_id = (await hourly(running))["task_id"]
    before = len(running.responder.heard)
    response = await ask(running, task_id, **fields)
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert len(running.responder.heard) == before


async def test_a_task_without_slots_and_a_stranger_s(running: Running) -> None:
    span = {"from": text(NOON), "to": text(NOON + HOUR)}
    on_demand = (await create(running))["task_id"]
    is_problem(await ask(running, on_demand, **span), 409, "invalid_state")
    is_problem(await ask(running, "nobody", **span), 404, "not_found")
    seconds = await create(running, schedule={"kind": "interval", "every_seconds": 1})
    year = {"from": text(NOON - 365 * 86_400), "to": text(NOON), "dry_run": True}
    for only in ("gaps", "all"):
        problem = is_problem(await ask(running, seconds["task_id"], **year, only=only), 429, "limit")
        assert "31,536,000 slots" in problem["errors"][0]["message"]
