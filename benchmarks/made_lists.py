"""A large read side, made up on the server: tasks and executions as lists meet them, without a scheduler.

Everything is drawn from hashes of the row's number, so two runs make the same. What matters to lists:

* *tasks*: made over a year; users drawn so that a few have very many (the first a tenth of all) and most have a few;
  20 task types, also skewed; one in five made from a template; seven in ten are scheduled, the others paused,
  completed, cancelled, failed or waiting; up to three tags of 300; words of a vocabulary of 8,000, some frequent, most
  rare; half have a due date.
* *executions*: over the last 90 days, 1 in 100 of a backfill of slots some days before; nine in ten spread evenly over
  the tasks, one in ten among 100 busy tasks; 94 % completed, the others failed, timed out, cancelled, skipped, missed
  or coalesced; 1 in 20 is not of a schedule; 2,000 executors, one after the other; 2,000 executions are in flight.

Rows are made without the lists' indexes, which are built afterwards as a rebuild does.
"""

# Names of tables and the texts below are all of our own.
# ruff: noqa: S608

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import msgspec

from gnomon_api.readmodels import rebuild as rebuilding
from gnomon_api.readmodels.partitions import PartitionKeeper
from gnomon_api.readmodels.sections import READ_MODELS
from gnomon_schemas.tasks import Task
from tests.integration.api.stories import a_task

__all__ = ["NOW", "fill"]

NOW: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""The moment that the data looks back from."""

_DAYS: Final = 90
_CHUNK: Final = 500_000
_TABLES: Final = (*READ_MODELS, "executions_active", "executions_ended")
_IN_FLIGHT: Final = 2000

_FUNCTIONS: Final = """
create function pg_temp.pick(i bigint, seed integer, n bigint) returns bigint immutable language sql return
    (hashint8extended(i, seed) & 9223372036854775807) % n;
-- Small numbers often, large ones seldom.
create function pg_temp.skew(i bigint, seed integer, n bigint) returns bigint immutable language sql return
    floor(n * power(pg_temp.pick(i, seed, 1000000)::float8 / 1000000, 3))::bigint;
create function pg_temp.word(k bigint) returns text immutable language sql return
    (array['ba','ko','ri','tu','me','sa','lo','pi','ne','fa','du','ge','ha','jo','ki','la','mo','nu','ro','ve'])
        [k % 20 + 1]
    || (array['lt','rn','sk','mp','nd','rt','st','ng','ck','ll','rm','ss','tt','nn','pp','rd','lk','ft','xt','gh'])
        [k / 20 % 20 + 1]
    || (array['a','e','i','o','u','ar','en','ix','or','um','al','es','in','on','us','ab','ed','il','op','yt'])
        [k / 400 % 20 + 1];
"""


def _words(first: int, count: int) -> str:
    """An expression that draws words: spelled out, since a function that loops takes twenty times as long."""
    return " || ' ' || ".join(
        f"pg_temp.word(pg_temp.skew(i, {first + number}, 8000))" for number in range(count)
    )


_TAGS: Final = [f"'tag-' || pg_temp.skew(i, {seed}, 300)" for seed in (21, 22, 23)]
_TASKS: Final = f"""
insert into tasks (
    task_id, user_id, partition, name, description, task_type, priority, tags, metadata, template_id, base_status,
    in_flight, schedule, task, version, due_date, next_run_time, last_run_time, last_execution, run_count,
    success_count, failure_count, consecutive_failures, created_at, updated_at, deleted_at, seen_until, seq
)
select id, owner, i % 8, name, {_words(200, 10)}, 'type-' || pg_temp.skew(i, 3, 20),
       case when p < 80 then 'medium' when p < 92 then 'high' when p < 99 then 'low' else 'urgent' end,
       (array[
            '[]', jsonb_build_array({_TAGS[0]}), jsonb_build_array({_TAGS[0]}, {_TAGS[1]}),
            jsonb_build_array({_TAGS[0]}, {_TAGS[1]}, {_TAGS[2]})
        ])[pg_temp.pick(i, 5, 4) + 1],
       jsonb_build_object('team', 'team-' || pg_temp.pick(i, 6, 50), 'number', pg_temp.pick(i, 7, 5000)),
       case when pg_temp.pick(i, 8, 5) = 0 then 'template-' || pg_temp.pick(i, 9, 20) end,
       base, 0, $3::json,
       replace(replace(replace($4, '@id', id), '@name', name), '@owner', owner)::json, 1,
       case when i % 2 = 0 then $5::timestamptz + (pg_temp.pick(i, 11, 180) - 60) * interval '1 day' end,
       case when base = 'scheduled' then $5::timestamptz + pg_temp.pick(i, 12, 86400) * interval '1 second' end,
       case when s >= 5 then $5::timestamptz - pg_temp.pick(i, 13, 7776000) * interval '1 second' end,
       null, 10, 9, 1, 0, created, created + pg_temp.pick(i, 14, 86400) * interval '1 second', null, $5, i
from (
    select i, 'T' || i as id,
           'u' || case when pg_temp.pick(i, 1, 10) = 0 then 0 else pg_temp.skew(i, 2, 20000) end as owner,
           initcap({_words(100, 3)}) || ' ' || i % 1000 as name, pg_temp.pick(i, 4, 100) as p, s,
           case when s < 2 then 'pending' when s < 72 then 'scheduled' when s < 77 then 'paused'
                when s < 92 then 'completed' when s < 97 then 'cancelled' else 'failed' end as base,
           $5::timestamptz - interval '365 days' * (1 - i::float / $6::bigint) as created
    from (select i, pg_temp.pick(i, 10, 100) as s from generate_series($1::bigint, $2::bigint) as i) as numbers
) as drawn
"""
_EXECUTIONS: Final = """
insert into executions (
    execution_id, task_id, run, user_id, task_type, partition, status, trigger, attempt, recorded_at, seq, reason,
    trigger_data, config_overrides, scheduled_for, due_at, started_at, completed_at, duration_ms, result,
    result_truncated, error, credits_consumed, tokens_used, api_calls_made, executor, retry_of, dead_letter, into_run,
    revision, trace_id, attempts
)
select task_id || '.' || run, task_id, run, user_id, task_type, partition,
       case when j > $5::bigint - $6::bigint then 'running' else status end,
       kind, 1, at, j, case when status in ('skipped', 'missed', 'coalesced') then 'overlap' end, null, null,
       case when kind = 'backfill' then at - (1 + pg_temp.pick(j, 37, 30)) * interval '1 day' else at end, at,
       case when status not in ('skipped', 'missed', 'coalesced') then at + interval '40 ms' end,
       case when j <= $5::bigint - $6::bigint then at + interval '40 ms' + took * interval '1 ms' end,
       took, '{"status": 200, "body": "hello"}', false,
       case when status in ('failed', 'timed_out') then '{"type": "Boom", "message": "it went wrong"}'::json end,
       0, 0, 0, 'e-' || (j * 2000 / $5::bigint), null, null, null, 1, md5(j::text),
       '[{"attempt":1,"executor":"e-1","started_at":"2026-11-01T00:00:00Z","takeovers":0,"status":"completed"}]'
from (
    select j, t.task_id, t.user_id, t.task_type, t.partition,
           case when pg_temp.pick(j, 33, 20) = 0
                then (array['manual', 'manual', 'manual', 'backfill', 'webhook'])[pg_temp.pick(j, 34, 5) + 1]
                else 'schedule' end as kind,
           case when s < 9400 then 'completed' when s < 9700 then 'failed' when s < 9750 then 'timed_out'
                when s < 9760 then 'cancelled' when s < 9960 then 'skipped' when s < 9990 then 'missed'
                else 'coalesced' end as status,
           date_trunc('second', $3::timestamptz - $4::interval * (1 - j::float / $5::bigint))
               + (j % 1000) * interval '1 ms' as at,
           to_char($3::timestamptz - $4::interval * (1 - j::float / $5::bigint), 'YYYYMMDD"T"HH24MISS"Z"')
               || '-' || j as run,
           50 + pg_temp.skew(j, 35, 60000) as took
    from (
        select j, 'T' || (case when pg_temp.pick(j, 30, 10) = 0 then pg_temp.pick(j, 31, 100)
                          else pg_temp.pick(j, 32, $7::bigint) end + 1) as id, pg_temp.pick(j, 36, 10000) as s
        from generate_series($1::bigint, $2::bigint) as j
    ) as numbers join tasks t on t.task_id = numbers.id
) as drawn
"""


async def fill(connection: asyncpg.Connection[asyncpg.Record], tasks: int, executions: int) -> None:
    """Fill empty, migrated read models, and build the indexes of the lists. Raises asyncpg's errors."""
    await connection.execute(
        "set timezone to 'UTC'; set synchronous_commit to off; set maintenance_work_mem to '512MB'"
    )
    await connection.execute(_FUNCTIONS)
    for name in await _plain_indexes(connection):
        await connection.execute(f"drop index {name}")
    template = _template()
    assert template.schedule is not None, "it has one"
    schedule = msgspec.json.encode(template.schedule).decode()
    text = msgspec.json.encode(template).decode()
    for first, last in _chunks(tasks):
        await connection.execute(_TASKS, first, last, schedule, text, NOW, tasks)
    keeper = PartitionKeeper(connection)
    await keeper.months("executions_ended", [NOW - timedelta(days=day) for day in range(-1, _DAYS + 1)])
    in_flight = min(_IN_FLIGHT, executions // 100)
    for first, last in _chunks(executions):
        await connection.execute(
            _EXECUTIONS, first, last, NOW, timedelta(days=_DAYS), executions, in_flight, tasks
        )
    await rebuilding.define(connection, "public", "index")
    await connection.execute("vacuum analyze tasks")
    await connection.execute("vacuum analyze executions")


def _chunks(count: int) -> Sequence[tuple[int, int]]:
    return [(first, min(first + _CHUNK - 1, count)) for first in range(1, count + 1, _CHUNK)]


def _template() -> Task:
    return a_task("@id", name="@name", user_id="@owner")


async def _plain_indexes(connection: asyncpg.Connection[asyncpg.Record]) -> list[str]:
    rows = await connection.fetch(
        """select indexrelid::regclass::text as name from pg_index i join pg_class c on c.oid = i.indexrelid
           where not indisunique and not c.relispartition and indrelid = any($1::regclass[])""",
        list(_TABLES),
    )
    return [row["name"] for row in rows]
