-- name: execution_columns
-- What an execution is shown from; the beginning of every statement that reads executions.
select execution_id, task_id, run, user_id, task_type, status, reason, trigger, trigger_data, scheduled_for, due_at,
       started_at, completed_at, duration_ms, attempt, attempts, result, result_truncated, error, credits_consumed,
       tokens_used, api_calls_made, executor, retry_of, dead_letter, into_run, revision, trace_id, recorded_at,
       due_published_at, calendar_id
from executions;

-- name: execution_by_id
-- One execution.
where execution_id = $1;

-- name: executions_with_task_id
-- Tasks.
task_id = any($1::text[]);

-- name: executions_with_status
-- Statuses.
status = any($1::text[]);

-- name: executions_with_user_id
-- Owners of the tasks.
user_id = any($1::text[]);

-- name: executions_with_task_type
-- Task types.
task_type = any($1::text[]);

-- name: executions_with_trigger
-- What made them.
trigger = any($1::text[]);

-- name: executions_with_executor
-- Executors that ran the last attempt.
executor = any($1::text[]);

-- name: executions_with_scheduled_after
-- Nominal time after an instant.
coalesce(scheduled_for, 'infinity') > $1::timestamptz and coalesce(scheduled_for, 'infinity') < 'infinity';

-- name: executions_with_scheduled_before
-- Nominal time before an instant.
coalesce(scheduled_for, 'infinity') < $1::timestamptz;

-- name: executions_in_flight
-- Not ended.
completed_at is null;

-- name: executions_ended
-- Ended.
completed_at is not null;

-- name: executions_ended_soon
-- Of what has ended: within half an hour after the slot.
completed_at - scheduled_for <= interval '30 minutes';

-- name: executions_ended_late
-- Of what has ended: later than that, or of no slot. Some indexes have just these.
(ended_late or scheduled_for is null);

-- name: executions_recorded_after
-- Recorded after an instant.
recorded_at > $1::timestamptz;

-- name: executions_recorded_before
-- Recorded before an instant.
recorded_at < $1::timestamptz;

-- name: weeks
-- Numbers of the weeks from one to another.
generate_series($1::integer, $2::integer) as bucket (number);

-- name: late_weeks
-- Numbers of the weeks that executions which ended late may have slots in, from one (null: any) to another. Where none
-- ended late there is none.
(select number
 from (select (select min(((scheduled_for at time zone 'UTC')::date - date '1970-01-01') / 7) from executions_ended
               where ended_late or scheduled_for is null) as first,
              (select max(((scheduled_for at time zone 'UTC')::date - date '1970-01-01') / 7) from executions_ended
               where ended_late or scheduled_for is null) as last) as late,
      generate_series(greatest($1::integer, late.first), least($2::integer, late.last)) as number
 where late.first is not null) as bucket;

-- name: executions_of_week
-- Of slots of one of those weeks.
((scheduled_for at time zone 'UTC')::date - date '1970-01-01') / 7 = bucket.number;

-- name: backfill_progress
-- How many executions backfills have begun, and how many of those have not ended: by task, and by what their runs begin
-- with. A slot follows, nothing else: the id of another backfill may begin as this one's does.
select wanted.task_id, wanted.prefix, count(*) as begun,
       count(*) filter (where completed_at is null) as in_flight
from unnest($1::text[], $2::text[]) as wanted (task_id, prefix)
join executions on executions.task_id = wanted.task_id and trigger = 'backfill' and starts_with(run, wanted.prefix)
  and length(run) = length(wanted.prefix) + length('20260921T090000Z')
group by wanted.task_id, wanted.prefix;

-- name: slots_with_work
-- Slots of a span that have been done, or are being done.
select distinct scheduled_for from executions
where task_id = $1 and scheduled_for >= $2 and scheduled_for < $3
  and trigger in ('schedule', 'backfill', 'retry') and status in ('completed', 'queued', 'running', 'retrying')
union
select slot
from kept_slots, unnest(offsets) as at, lateral (select month + at * interval '1 second') as nominal (slot)
where task_id = $1 and month >= date_trunc('month', $2::timestamptz, 'UTC') and month < $3
  and slot >= $2 and slot < $3 and status = 'completed';

-- name: calendar_runs
-- The newest runs of some tasks that have started since an instant, for a calendar.
select execution_id, task_id, status, started_at, completed_at, error from executions
where task_id = any($1::text[]) and recorded_at >= $2::timestamptz and started_at is not null
order by recorded_at desc, execution_id desc limit $3;

-- name: calendar_put_off
-- Slots of some tasks that a calendar of blackouts put off and that have not gone yet.
select task_id, scheduled_for from executions
where task_id = any($1::text[]) and completed_at is null and status = 'queued' and calendar_id is not null
  and scheduled_for is not null
order by scheduled_for limit $2;

-- name: executions_of_a_task_now
-- What of a task has not ended, newest first, and one more execution of it: its last one.
(select execution_id, run, status, attempt, started_at, result, result_truncated, recorded_at from executions
 where task_id = $1 and status in ('queued', 'running', 'retrying') order by recorded_at desc limit $3)
union all
(select execution_id, run, status, attempt, started_at, result, result_truncated, recorded_at from executions
 where execution_id = $2)
order by recorded_at desc;
