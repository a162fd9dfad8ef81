-- name: tasks_counted_of_user
-- How many tasks a user has, by status and type. Null: the system's own. Asked for apart, since each has an index.
select base_status, task_type, deleted, count(*) as tasks
from (
    select base_status, task_type, false as deleted from tasks
    where deleted_at is null and (user_id = $1::text or $1::text is null and user_id is null)
    union all
    select base_status, task_type, true from tasks
    where deleted_at is not null and (user_id = $1::text or $1::text is null and user_id is null)
) as counted
group by 1, 2, 3;

-- name: tasks_counted
-- How many tasks there are, by status and type.
select base_status, task_type, deleted_at is not null as deleted, count(*) as tasks from tasks group by 1, 2, 3;

-- name: runs_of_user_by_hour
-- What a user's tasks did per hour of a span, all types together; an empty user id is the system.
select hour, '' as task_type, sum(completed)::bigint, sum(failed)::bigint, sum(timed_out)::bigint,
       sum(cancelled)::bigint, sum(duration_ms)::bigint, sum(micro_credits)::bigint, sum(tokens_used)::bigint,
       sum(api_calls_made)::bigint
from run_rollups where user_id = $1 and hour >= $2 and hour < $3 group by hour;

-- name: runs_by_hour
-- What all tasks did per hour of a span and type.
select hour, task_type, completed, failed, timed_out, cancelled, duration_ms, micro_credits, tokens_used,
       api_calls_made
from platform_rollups where hour >= $1 and hour < $2;

-- name: platform_counted
-- The platform's own counts over a span, its users, and the bytes of its tables and indexes. Of tasks that have been
-- removed it is known whose they were, and an instant before which they were made.
with hours as (
    select coalesce(sum(starts), 0)::bigint as starts, coalesce(sum(on_time), 0)::bigint as on_time,
           coalesce(sum(created), 0)::bigint as created,
           coalesce(sum(created_from_template), 0)::bigint as created_from_template,
           coalesce(sum(create_refused), 0)::bigint as create_refused, coalesce(sum(missed), 0)::bigint as missed
    from platform_hours where hour >= $1 and hour < $2
), told as (
    select user_id, min(created_at) as first_created, count(*) filter (where deleted_at is null) as tasks,
           bool_or(deleted_at is null and base_status not in ('completed', 'failed', 'cancelled')) as goes_on
    from tasks where user_id is not null group by user_id
    union all
    select r.user_id, min(m.before), 0, false
    from retired_tasks r
    join (select sequence, max(before) as before from retirements where what = 'tasks' group by sequence) as m
        using (sequence)
    where r.user_id is not null group by r.user_id
), of_users as (
    select min(first_created) as first_created, sum(tasks)::bigint as tasks, bool_or(goes_on) as goes_on
    from told group by user_id
), users as (
    select count(*) filter (where tasks > 0) as users, coalesce(sum(tasks), 0)::bigint as tasks_of_users,
           count(*) filter (where first_created <= $2 - interval '30 days') as users_old,
           count(*) filter (where first_created <= $2 - interval '30 days' and goes_on) as users_retained
    from of_users
), storage as (
    select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint as storage_bytes
    from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'r'
)
select * from hours, users, storage;

-- name: start_latency_counted
-- How many slots of a span started with which latency.
select bucket, sum(starts)::bigint as starts from start_latency where hour >= $1 and hour < $2 group by bucket;

-- name: active_tasks_by_day
-- How many tasks ran on each UTC day of a span.
select date_trunc('day', hour, 'UTC') as day, sum(active_tasks)::bigint as tasks
from platform_hours where hour >= $1 and hour < $2 group by 1 having sum(active_tasks) > 0 order by 1;
