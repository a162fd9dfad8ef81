"""What somebody takes out of the log, doubles in it or emits under a wrong revision, the audit finds: over HTTP and in
the terminal, on a real system whose every other slot is in order."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Queued
from tests.harness.commands import fresh_id
from tests.harness.read_models import caught_up
from tests.harness.tampering import double_in_log, emit_under_revision, lose, remove_from_log
from tests.harness.waiting import until_async
from tests.harness.world import now_ms
from tests.integration.ledger.place import Place

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SLOTS = 6


async def ran(place: Place, name: str, begin_ms: int) -> tuple[str, list[str]]:
    """A task of six slots, a second apart: its id, and their runs."""
    task = fresh_id(name)
    schedule = {
        "kind": "cron",
        "expression": "* * * * * *",
        "start_at": format_instant(begin_ms),
        "end_at": format_instant(begin_ms + SLOTS * 1000),
    }
    await place.world.commands.create(task, schedule=schedule, overlap="allow")
    return task, [slot_run(begin_ms // 1000 + number) for number in range(SLOTS)]


def found(report: dict[str, Any], what: str) -> list[str]:
    """The slots that a report names."""
    names = [slot["execution_id"] for slot in report[what]]
    assert len(names) == report[f"{what}_count"]
    return names


async def test_the_audit_finds_what_was_removed_doubled_or_emitted_under_a_wrong_revision(
    place: Place,
) -> None:
    world = place.world
    # The api must not have read what is to be taken out of the log.
    await place.stop_api()
    begin_ms = now_ms() // 1000 * 1000 + 3000
    (removed, runs), (doubled, _), (wrong, _), (sound, _) = [
        await ran(place, name, begin_ms) for name in ("removed", "doubled", "wrong", "sound")
    ]
    await world.settled(begin_ms + SLOTS * 1000, within=60)
    assert await remove_from_log(world, removed, runs[2]) == 2, "started and executed"
    await double_in_log(world, doubled, runs[3])
    assert await remove_from_log(world, wrong, runs[4]) == 2
    position = len(world.events.all)
    await emit_under_revision(world, wrong, runs[4], revision=7)
    await world.events.wait_for(
        lambda: any(seen.name == "executed" and seen.task_id == wrong for seen in world.events.all[position:])
    )
    await place.start_api()
    since, until = format_instant(begin_ms), format_instant(begin_ms + SLOTS * 1000)
    await judged_until(place, since, until)
    report = await place.get("/ledger/audit", since=since, until=until)
    assert report["sound"] is False
    assert found(report, "missing") == [f"{removed}.{runs[2]}"]
    assert found(report, "duplicate") == [f"{doubled}.{runs[3]}"]
    assert found(report, "misplaced") == [f"{wrong}.{runs[4]}"]
    assert report["misplaced"][0]["revision"] == 7
    assert report["expected"] == 4 * SLOTS == report["outcomes"]["executed"] + report["missing_count"]
    code, told = await place.audit_in_terminal("--since", since, "--until", until)
    assert (code, told) == (1, report)
    # By the other engine as well: the arithmetic is not what is wrong.
    code, told = await place.audit_in_terminal("--since", since, "--until", until, "--engine", "cronsim")
    assert (code, found(told, "missing")) == (1, [f"{removed}.{runs[2]}"])
    assert (told["cross_check"]["checked"], told["cross_check"]["disputed"]) == (4 * SLOTS, 0)
    said = await place.gnomon("audit", "--since", since, "--until", until)
    assert said.code == 1
    assert f"{removed}.{runs[2]}" in said.out
    code, told = await place.audit_in_terminal("--task", sound, "--since", since, "--until", until)
    assert (code, told["sound"], told["expected"]) == (0, True, SLOTS)
    await repaired_in_terminal(place, removed, runs[2], since, until)


async def judged_until(place: Place, since: str, until: str) -> None:
    """Wait until the shards have told that they are past `until`: before, an audit ends where they are."""

    async def there() -> bool:
        report = await place.get("/ledger/audit", since=since, until=until)
        return bool(report["until"] == until)

    await until_async(there)


async def repaired_in_terminal(place: Place, task: str, run: str, since: str, until: str) -> None:
    """`gnomon audit --repair` has the lost slot run; what was doubled or misplaced it can only tell."""
    said = await place.gnomon("audit", "--repair", "--since", since, "--until", until)
    assert said.code == 1, "two slots are still wrong"
    assert "1 repaired" in said.out
    await caught_up(place.world, place.postgres_url)
    report = await place.get("/ledger/audit", since=since, until=until)
    assert (report["missing_count"], report["duplicate_count"], report["misplaced_count"]) == (0, 1, 1)
    code, _ = await place.audit_in_terminal("--task", task, "--since", since, "--until", until)
    assert code == 0
    # Again: there is nothing to repair any more.
    again = await place.post("/ledger/repair", since=since, until=until)
    assert (again["repaired"], again["refused"], again["pending"]) == (0, [], 0)
    chain = [seen.name for seen in place.world.events.of(task_id=task) if seen.run == run]
    assert chain[-3:] == ["queued", "started", "executed"]


async def test_an_auditor_that_may_repairs_by_itself(place: Place) -> None:
    await place.stop_api()
    begin_ms = now_ms() // 1000 * 1000 + 2000
    task, runs = await ran(place, "repaired", begin_ms)
    await place.world.events.one("status_changed", task, new_status="completed", within=60)
    await lose(place.world, task, runs[1])
    await place.start_api(audit_every="1s", audit_repair="true")
    await place.world.events.one("executed", task, run=runs[1])
    await place.api.logged("ledger.repaired", repaired=1)
    queued = [seen.event for seen in place.world.events.of("queued", task)]
    assert [event.reason for event in queued if isinstance(event, Queued)] == ["repair"]
    await caught_up(place.world, place.postgres_url)
    report = await place.get("/ledger/audit", task_id=task, since=format_instant(begin_ms))
    assert (report["sound"], report["outcomes"]["executed"]) == (True, SLOTS)
