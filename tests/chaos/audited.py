"""The audit of a long run, as people ask for it; and what it says after hands were laid on the archive."""

from __future__ import annotations

from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec

from gnomon_api.readmodels import rebuild
from gnomon_schemas.clock_text import format_instant, parse_slot_run
from tests.harness.events import Seen
from tests.harness.processes import Process
from tests.harness.read_models import caught_up
from tests.harness.world import World
from tests.integration.cli.running_up import gnomon

__all__ = ["audited", "tamper", "tell_of"]

_LATER = 503
"""What the audit answers while the read models are behind the log: everything moves meanwhile."""
_WRONG_REVISION = 4711


async def audited(
    world: World, dsn: str, api: Process, since_ms: int, until_ms: int, engine: str = "timing"
) -> dict[str, Any]:
    """The audit of a span over HTTP, which `gnomon audit` tells the same."""
    await caught_up(world, dsn)
    index = await api.logged("http.listening")
    url = api.lines[index - 1]["url"]
    params = {"since": format_instant(since_ms), "until": format_instant(until_ms), "engine": engine}
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=60.0, trust_env=False) as http:
        while True:
            answer = await http.get("/ledger/audit", params=params)
            if answer.status_code != _LATER:
                break
            await caught_up(world, dsn)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    flags = [part for name, value in params.items() for part in (f"--{name}", value)]
    while True:
        said = await gnomon("audit", "--json", *flags, "--url", url)
        if f'"status": {_LATER}' not in said.err:
            break
        await caught_up(world, dsn)
    assert said.code == (0 if found["sound"] else 1), said.err
    assert msgspec.json.decode(said.out) == found
    return found


def tell_of(report: dict[str, Any]) -> str:
    """What a report found, in a line."""
    counts = {name: report[name] for name in ("tasks", "expected", "outcomes", "pending", "missing_count")}
    wrong = {name: report[f"{name}_count"] for name in ("duplicate", "misplaced")}
    return f"audit by {report['engine']}: {counts}, {wrong}, miscounted {len(report['miscounted'])}"


class _Tampered(NamedTuple):
    """Slots that were laid hands on, by what the audit has to call them."""

    missing: str
    duplicate: str
    misplaced: str


async def tamper(world: World, dsn: str, until_ms: int) -> _Tampered:
    """Take the events of one slot up to an instant out of the archive, double another's result, and move a third under
    a revision that never was; then put the read models made of that in place. Nothing else may run meanwhile."""
    removed, doubled, moved = _three_slots(world, until_ms)
    connection = await asyncpg.connect(dsn)
    try:
        for seen in _chain(world, removed):
            await connection.execute("delete from event_archive where seq = $1", seen.seq)
        await connection.execute(
            "insert into event_archive "
            "select $2, stored_at, subject, headers, payload from event_archive where seq = $1",
            doubled.seq,
            _gap_after(world, doubled.seq),
        )
        for seen in _chain(world, moved):
            payload = await connection.fetchval("select payload from event_archive where seq = $1", seen.seq)
            told = msgspec.json.decode(payload)
            told["revision"] = _WRONG_REVISION
            await connection.execute(
                "update event_archive set payload = $2 where seq = $1", seen.seq, msgspec.json.encode(told)
            )
    finally:
        await connection.close()
    # `gnomon verify` sees that the tables are not what the archive says any more; `--swap` believes the archive.
    assert "executions" in (await rebuild.verify(dsn)).differing
    await rebuild.replace(dsn)
    return _Tampered(*(f"{seen.task_id}.{seen.run}" for seen in (removed, doubled, moved)))


def _three_slots(world: World, until_ms: int) -> list[Seen]:
    """Results of slots of three tasks up to an instant, from the middle of each one's life."""
    found: dict[str, list[Seen]] = {}
    for seen in world.events.of("executed"):
        nominal = parse_slot_run(seen.run)
        if nominal is not None and nominal.timestamp() * 1000 <= until_ms:
            found.setdefault(seen.task_id, []).append(seen)
    many = sorted(
        (task for task, slots in found.items() if len(slots) > 4), key=lambda task: -len(found[task])
    )
    return [found[task][len(found[task]) // 2] for task in many[:3]]


def _chain(world: World, of: Seen) -> list[Seen]:
    return [seen for seen in world.events.of(task_id=of.task_id) if seen.run == of.run]


def _gap_after(world: World, seq: int) -> int:
    """The first sequence after one that no event has: a register's."""
    taken = set(world.events.sequences)
    return next(number for number in range(seq + 1, world.events.sequences[-1]) if number not in taken)
