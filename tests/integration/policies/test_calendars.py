"""Calendars of blackouts over HTTP and from the terminal, and what real schedulers make of them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import icalendar
import msgspec
import pytest

from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from tests.harness.commands import fresh_id
from tests.harness.over_http import OverHttp
from tests.harness.waiting import until_async
from tests.harness.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

DAY_MS = 86_400_000
ICAL = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\nX-WR-CALNAME:Ops\r\nBEGIN:VEVENT\r\nUID:1\r\n"
    "DTSTART;TZID=Europe/Berlin:20300106T020000\r\nDURATION:PT2H\r\nRRULE:FREQ=WEEKLY;COUNT=3\r\nSUMMARY:Maintenance\r\n"
    "END:VEVENT\r\nEND:VCALENDAR\r\n"
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def span(from_ms: int, to_ms: int) -> dict[str, str]:
    return {"from": format_instant(from_ms), "to": format_instant(to_ms)}


def spec(tag: str, **changes: Any) -> dict[str, Any]:
    tomorrow = now_ms() + DAY_MS
    return {
        "name": f"Calendar {tag}",
        "selector": {"tags": [tag]},
        "action": "defer",
        "timezone": "Europe/Berlin",
        "spans": [span(tomorrow, tomorrow + DAY_MS)],
        **changes,
    }


async def test_a_calendar_is_made_read_changed_and_deleted(running: World, http: OverHttp) -> None:
    calendar, tag = fresh_id("cal"), fresh_id("m")
    body = {"calendar_id": calendar, **spec(tag)}
    answer = await http.client.post("/calendars", json=body)
    assert answer.status_code == 201, answer.text
    assert (answer.headers["Location"], answer.headers["ETag"]) == (f"/api/v1/calendars/{calendar}", '"1"')
    again = await http.client.post("/calendars", json=body)
    assert again.status_code == 200, again.text
    shown = await http.get(f"/calendars/{calendar}")
    assert shown == {
        **answer.json(),
        "in_force": False,
        "until": None,
        "next_start": format_instant(-(-instant_ms(body["spans"][0]["from"]) // 1000) * 1000),
    }
    same = await http.client.put(f"/calendars/{calendar}", json=shown)
    assert (same.status_code, same.json()["version"]) == (200, 1), same.text
    present = span(now_ms() - 1000, now_ms() + DAY_MS)
    changed = await http.client.patch(f"/calendars/{calendar}", json={"spans": [present], "action": "skip"})
    assert (changed.status_code, changed.json()["version"]) == (200, 2), changed.text
    shown = await http.get(f"/calendars/{calendar}")
    assert (shown["in_force"], instant_ms(shown["until"]) // 1000) == (
        True,
        -(-instant_ms(present["to"]) // 1000),
    )
    stale = await http.client.patch(f"/calendars/{calendar}", json={}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_mismatch")
    history = (await http.get(f"/calendars/{calendar}/history"))["items"]
    assert [(one["what"], [change["field"] for change in one["changes"]]) for one in history] == [
        ("updated", ["action", "spans"]),
        ("created", []),
    ]

    async def listed(**params: str) -> list[str]:
        return [one["calendar_id"] for one in (await http.get("/calendars", tag=tag, **params))["items"]]

    assert await listed() == [calendar]
    assert await listed(action="skip", enabled="true", q="calendar") == [calendar]
    assert await listed(action="defer") == []
    assert await listed(enabled="false") == []
    gone = await http.client.delete(f"/calendars/{calendar}")
    assert gone.status_code == 204, gone.text
    missing = await http.client.get(f"/calendars/{calendar}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert await listed() == []


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"action": "pause"}, "#/action"),
        ({"selector": None}, "#/selector"),
        ({"spans": [{"from": "2030-01-01T00:00:00Z", "to": "2029-01-01T00:00:00Z"}]}, "#/spans/0/to"),
        ({"colour": 1}, "#/colour"),
    ],
)
async def test_both_doors_refuse_the_same_with_the_same_words(
    running: World, http: OverHttp, changes: dict[str, Any], pointer: str
) -> None:
    body = spec("x", **changes)
    answer = await http.client.post("/calendars", json=body)
    assert answer.status_code == 422, answer.text
    outcome = await running.commands.send("create", fresh_id("cal"), body, kind="calendar")
    assert outcome["error"]["errors"] == answer.json()["errors"]
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


async def test_an_icalendar_becomes_spans_and_a_newer_one_replaces_them(
    running: World, http: OverHttp
) -> None:
    tag = fresh_id("m")
    until = "2030-02-01T00:00:00Z"
    body = {"ical": ICAL, "until": until, "selector": {"tags": [tag]}, "action": "skip", "timezone": "UTC"}
    made = await http.post("/calendars/import", body)
    assert (made["name"], [one["from"][:16] for one in made["spans"]]) == (
        "Ops",
        ["2030-01-06T01:00", "2030-01-13T01:00", "2030-01-20T01:00"],
    )
    assert made["expanded_until"] == "2030-02-01T00:00:00.000Z"
    path = f"/calendars/{made['calendar_id']}/import"
    newer = ICAL.replace("COUNT=3", "COUNT=1").replace("20300106", f"{time.gmtime().tm_year + 1}0106")
    raw = await http.client.post(
        path, content=newer, headers={"Content-Type": "text/calendar; charset=utf-8"}
    )
    if raw.status_code == 200:
        assert (raw.json()["version"], len(raw.json()["spans"])) == (2, 1)
    assert raw.status_code == 200, raw.text
    bad = await http.client.post("/calendars/import", json={**body, "ical": "nonsense"})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "#/ical"), bad.text
    late = await http.client.post("/calendars/import", json={**body, "until": "2099-01-01T00:00:00Z"})
    assert late.json()["errors"][0]["pointer"] == "#/until", late.text


async def test_next_preview_and_forecast_tell_what_calendars_touch(running: World, http: OverHttp) -> None:
    tag, task = fresh_id("m"), fresh_id("t")
    start_ms = (now_ms() // DAY_MS + 2) * DAY_MS
    schedule = {"kind": "daily", "time": "12:00", "timezone": "UTC"}
    await http.create(task, schedule=schedule, tags=[tag])
    calendar = await http.post("/calendars", spec(tag, spans=[span(start_ms, start_ms + 2 * DAY_MS)]))
    fires = (await http.get(f"/tasks/{task}/next", count=5))["fires"]
    inside = [start_ms <= instant_ms(fire["at"]) < start_ms + 2 * DAY_MS for fire in fires]
    assert sum(inside) == 2
    mark = {
        "calendar_id": calendar["calendar_id"],
        "action": "defer",
        "until": format_instant(start_ms + 2 * DAY_MS),
    }
    assert [fire.get("blackout") for fire in fires] == [mark if touched else None for touched in inside]
    asked = {"schedule": schedule, "count": 5}
    previewed = await http.post("/schedules/preview", {**asked, "tags": [tag]})
    assert previewed["fires"] == fires
    assert all("blackout" not in fire for fire in (await http.post("/schedules/preview", asked))["fires"])

    async def forecast() -> tuple[list[int], int, int]:
        days = {
            "from": format_instant(start_ms),
            "to": format_instant(start_ms + 3 * DAY_MS),
            "bucket": 86_400,
        }
        told = await http.get("/forecast", **days)
        return [bucket["fires"] for bucket in told["buckets"]], told["skipped"], told["put_off"]

    await http.client.patch(f"/calendars/{calendar['calendar_id']}", json={"enabled": False})
    plain, *none = await forecast()
    assert none == [0, 0]
    await http.client.patch(f"/calendars/{calendar['calendar_id']}", json={"enabled": True})
    assert await forecast() == ([plain[0] - 1, plain[1] - 1, plain[2] + 2], 0, 2)
    await http.client.patch(f"/calendars/{calendar['calendar_id']}", json={"action": "skip"})
    assert await forecast() == ([plain[0] - 1, plain[1] - 1, plain[2]], 2, 0)
    await http.client.patch(f"/calendars/{calendar['calendar_id']}", json={"action": "first_after"})
    assert await forecast() == ([plain[0] - 1, plain[1] - 1, plain[2] + 1], 0, 2)
    await http.client.delete(f"/calendars/{calendar['calendar_id']}")
    await http.client.delete(f"/tasks/{task}")


async def test_a_calendar_feed_shows_what_is_put_off_where_the_blackout_ends(
    running: World, http: OverHttp
) -> None:
    """The slot that has been put off and waits, those that will be, and the first one after."""
    tag, task = fresh_id("m"), fresh_id("t")
    end_s = now_ms() // 1000 + 2 * 3600 + 1800
    blackout = spec(tag, spans=[span(now_ms() - 1000, end_s * 1000)])
    calendar = (await http.post("/calendars", blackout))["calendar_id"]
    anchor_s = now_ms() // 1000 + 2
    hourly = {"kind": "interval", "every_seconds": 3600, "anchor": format_instant(anchor_s * 1000)}
    await http.create(task, schedule=hourly, tags=[tag])
    await running.events.some(1, "queued", task, reason="blackout")

    async def starts() -> dict[str, int]:
        feed = (await http.client.get("/calendar.ics", params={"tag": tag, "days": 1})).content
        events: list[Any] = icalendar.Calendar.from_ical(feed).walk("VEVENT")
        return {str(one["uid"]): int(one["dtstart"].dt.timestamp()) - anchor_s for one in events}

    ids = [f"{task}.{slot_run(anchor_s + hour * 3600)}@gnomon" for hour in range(5)]

    async def is_projected() -> bool:
        return ids[0] in await starts()

    await until_async(is_projected)
    put_off = end_s - anchor_s
    shown = await starts()
    assert [shown[uid] for uid in ids] == [put_off, put_off, put_off, 3 * 3600, 4 * 3600]
    await http.client.patch(f"/calendars/{calendar}", json={"action": "first_after"})
    shown = await starts()
    assert [uid in shown for uid in ids] == [False, False, True, True, True]
    await http.client.patch(f"/calendars/{calendar}", json={"action": "skip"})
    shown = await starts()
    assert [uid in shown for uid in ids[1:]] == [False, False, True, True]
    await http.client.delete(f"/calendars/{calendar}")
    await http.client.delete(f"/tasks/{task}")


async def test_real_schedulers_obey_and_the_audit_finds_one_outcome_for_each_slot(
    running: World, http: OverHttp, tmp_path: Path
) -> None:
    """Skipped, put off and stood for, by one calendar that is changed while it is in force; then it is deleted."""
    tag, task, calendar = fresh_id("m"), fresh_id("t"), fresh_id("cal")

    async def gnomon(*arguments: str) -> str:
        url = str(http.client.base_url).removesuffix("/api/v1/")
        said = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "gnomon_cli", *arguments, "--url", url],
            capture_output=True,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        )
        assert said.returncode == 0, said.stderr.decode()
        return said.stdout.decode()

    spans = ("--span", f"{format_instant(now_ms() - 5000)}/{format_instant(now_ms() + DAY_MS)}")
    said = await gnomon("calendar", "create", "--id", calendar, "--name", "Now", "--tag", tag, *spans)
    assert f"{calendar} made: 1 span, skip" in said
    await http.create(task, schedule={"kind": "interval", "every_seconds": 1}, tags=[tag])
    await running.events.some(1, "skipped", task, reason="blackout", calendar_id=calendar)
    await http.client.patch(f"/calendars/{calendar}", json={"action": "defer"})
    await running.events.some(2, "queued", task, reason="blackout", calendar_id=calendar)
    await gnomon("calendar", "update", calendar, "--action", "first_after")
    await running.events.some(2, "coalesced", task, reason="blackout", calendar_id=calendar)
    assert running.events.of("started", task) == []
    assert "one run at" in await gnomon("task", "next", task)
    await http.client.delete(f"/calendars/{calendar}")
    await running.events.some(2, "executed", task)
    await http.post(f"/tasks/{task}/cancel")
    found = (await http.get("/executions", task_id=task, limit=500, status="skipped,coalesced"))["items"]
    assert {one["calendar_id"] for one in found if one["reason"] == "blackout"} == {calendar}
    ran = (await http.get("/executions", task_id=task, limit=500, status="completed"))["items"]
    assert calendar in {one["calendar_id"] for one in ran}
    async with asyncio.timeout(20):
        while True:
            report = await http.get("/ledger/audit", task_id=task)
            if not report["pending"]:
                break
            await asyncio.sleep(0.2)
    in_terminal = msgspec.json.decode(await gnomon("audit", "--task", task, "--json"))
    assert in_terminal["outcomes"] == report["outcomes"], "what `gnomon audit` says, with exit code 0"
    assert (report["missing"], report["duplicate"]) == ([], []), report
    assert report["expected"] == sum(report["outcomes"].values()) >= 5, report
    file = tmp_path / "ops.ics"
    file.write_text(ICAL)
    imported = await gnomon(
        "calendar",
        "import",
        str(file),
        "--tag",
        tag,
        "--id",
        calendar + "i",
        "--until",
        "2030-02-01T00:00:00Z",
    )
    assert f"{calendar}i made: 3 spans, skip" in imported
    assert "tag " + tag in await gnomon("calendar", "list", "--tag", tag)
