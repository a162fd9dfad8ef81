-- name: audited_tasks
-- Tasks that have or had a schedule, a page of them in the order of their ids.
select task_id, partition from (
    select task_id, user_id, partition from tasks
    union all
    select task_id, user_id, partition from retired_tasks r
    where not exists (select from tasks t where t.task_id = r.task_id)
) as t
where task_id > $1 and ($2::text is null or task_id = $2) and ($3::text is null or user_id = $3)
  and exists (select from slot_marks m where m.task_id = t.task_id)
order by task_id limit $4;

-- name: audited_marks
-- When which schedule of some tasks was in force, in the order in which it came to be.
select task_id, at, state, revision, schedule from slot_marks where task_id = any($1::text[]) order by task_id, seq;

-- name: audited_executions
-- What is recorded of single slots of some tasks, [from, to).
select task_id, scheduled_for, status, revision from executions
where task_id = any($1::text[]) and trigger = 'schedule' and scheduled_for >= $2 and scheduled_for < $3
union all
select task_id, slot, status, nullif(revision, -1)
from kept_slots, unnest(offsets) as at, lateral (select month + at * interval '1 second') as nominal (slot)
where task_id = any($1::text[]) and trigger = 'schedule'
  and month >= date_trunc('month', $2::timestamptz, 'UTC') and month < $3 and slot >= $2 and slot < $3;

-- name: counted_runs
-- How many slots of some revisions, [first, last], counted as runs of their schedule, and the last of which anything is
-- recorded.
select wanted.task_id, wanted.first,
       coalesce(sum(slots) filter (where not (status = 'skipped' and reason in ('overlap', 'limit'))), 0)::bigint as counted,
       max(newest) as last
from unnest($1::text[], $2::integer[], $3::integer[]) as wanted (task_id, first, last),
     lateral (
         select 1 as slots, status, reason, scheduled_for as newest from executions e
         where e.task_id = wanted.task_id and trigger = 'schedule' and revision between wanted.first and wanted.last
         union all
         select k.slots, status, reason, month + (select max(at) from unnest(offsets) as at) * interval '1 second'
         from kept_slots k
         where k.task_id = wanted.task_id and trigger = 'schedule' and revision between wanted.first and wanted.last
     ) as recorded
group by 1, 2;

-- name: audited_spans
-- Spans of some tasks that touch [from, to).
select task_id, outcome, revision, from_at, to_at, slots from slot_spans
where task_id = any($1::text[]) and to_at > $2 and from_at < $3;

-- name: audited_second_endings
-- Chains of some tasks that were ended more than once, and how often.
select task_id, execution_id, count(*) as times from second_endings where task_id = any($1::text[]) group by 1, 2;

-- name: recorded_since
-- Which of some executions have a row now.
select execution_id from executions where execution_id = any($1::text[]);

-- name: planned_schedules
-- The schedules that make slots now, how late a run may begin where its task says so, and how many tasks have both. Most
-- tasks say nothing, which their text tells without being parsed. Of a JSON text that has the character 0 somewhere
-- Postgres takes no member, and would fail for all.
select schedule::text as schedule,
       (case when position('"lateness_slo_seconds":null,"paused":' in task::text) > 0 then null
             when position('\u0000' in task::text) = 0 then task->>'lateness_slo_seconds' end)::float8 as tolerance,
       count(*) as tasks
from tasks
where base_status = 'scheduled' and deleted_at is null and schedule is not null
  and ($1::text is null or user_id = $1)
group by 1, 2;

-- name: tasks_with_heartbeat
-- Tasks that have a sign of life, and whether they make slots now.
select task_id, heartbeat::text as heartbeat, schedule::text as schedule, revision_from,
    base_status = 'scheduled' as active
from tasks
where deleted_at is null and heartbeat is not null and task_id > $1
order by task_id
limit $2;

-- name: last_slots
-- The newest slot of each of some tasks that has ended, its row there or removed since, and until when slots were passed
-- over in bulk. What is kept of removed rows is looked at where it may be newer than every row: months of it are long.
select asked.task_id,
    coalesce(kept.execution_id, recorded.execution_id) as execution_id,
    coalesce(kept.scheduled_for, recorded.scheduled_for) as scheduled_for,
    coalesce(kept.status, recorded.status) as status,
    (select max(to_at) from slot_spans where slot_spans.task_id = asked.task_id) as passed_over_until
from unnest($1::text[]) as asked (task_id)
left join lateral (
    select execution_id, scheduled_for, status from executions
    where executions.task_id = asked.task_id and trigger = 'schedule'
      and status not in ('queued', 'running', 'retrying')
    order by scheduled_for desc
    limit 1
) as recorded on true
left join lateral (
    select asked.task_id || '.' || to_char(slot at time zone 'UTC', 'YYYYMMDD"T"HH24MISS"Z"') as execution_id,
           slot as scheduled_for, status
    from kept_slots k,
         lateral (select month + (select max(at) from unnest(offsets) as at) * interval '1 second') as newest (slot)
    where k.task_id = asked.task_id and trigger = 'schedule'
      and month = (select max(month) from kept_slots where task_id = asked.task_id and trigger = 'schedule')
      and (recorded.scheduled_for is null
           or month >= date_trunc('month', recorded.scheduled_for, 'UTC') and slot > recorded.scheduled_for)
    order by slot desc
    limit 1
) as kept on true;

-- name: touchable_schedules
-- The schedules that make slots now of tasks that calendars of blackouts may touch: all of them, or those with a tag.
select schedule::text as schedule, task_type, user_id, tags::text as tags,
       count(*) as tasks
from tasks
where base_status = 'scheduled' and deleted_at is null and schedule is not null
  and ($1::text is null or user_id = $1)
  and ($2::boolean or tags ?| $3::text[])
group by 1, 2, 3, 4;
