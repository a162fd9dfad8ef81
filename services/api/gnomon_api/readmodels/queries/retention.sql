-- name: has_old_executions
-- Whether there is a part of the executions for a month before an instant.
select exists (
    select from pg_inherits join pg_class on pg_class.oid = inhrelid
    where inhparent = 'executions_ended'::regclass
      and relname < 'executions_ended_' || to_char($1::timestamptz at time zone 'UTC', 'YYYYMM')
);

-- name: old_parts
-- The parts of the executions for the months before an instant.
select inhrelid::regclass::text as name from pg_inherits join pg_class on pg_class.oid = inhrelid
where inhparent = 'executions_ended'::regclass
  and relname < 'executions_ended_' || to_char($1::timestamptz at time zone 'UTC', 'YYYYMM')
order by relname;

-- name: keep_slots
-- Keep of executions that ended before an instant what the ledger needs: which slots had which outcome. How many ended.
with kept as (
    insert into kept_slots as k (task_id, month, revision, trigger, status, reason, slots, offsets)
    select task_id, date_trunc('month', scheduled_for, 'UTC'), coalesce(revision, -1), trigger, status,
           coalesce(reason, ''), count(*),
           array_agg(
               extract(epoch from scheduled_for - date_trunc('month', scheduled_for, 'UTC'))::integer
               order by scheduled_for, execution_id
           )
    from executions
    where completed_at < $1::timestamptz and trigger in ('schedule', 'backfill', 'retry')
      and scheduled_for is not null
    group by 1, 2, 3, 4, 5, 6
    on conflict (task_id, month, revision, trigger, status, reason) do update set
        slots = k.slots + excluded.slots, offsets = k.offsets || excluded.offsets
)
select count(*) from executions where completed_at < $1::timestamptz;

-- name: forget_commands
-- What became of commands that were decided before an instant.
delete from commands where decided_at < $1::timestamptz;

-- name: has_old_tasks
-- Whether there is a task that has been over since before an instant, and nothing that it ran is left.
select exists (
    select from tasks t
    where in_flight = 0 and (deleted_at is not null or base_status in ('completed', 'failed', 'cancelled'))
      and greatest(updated_at, last_run_time, deleted_at) < $1::timestamptz
      and not exists (select from executions e where e.task_id = t.task_id)
);

-- name: retire_tasks
-- Remove those tasks, and keep who had them, and the position at which they went. How many went.
with gone as (
    delete from tasks t
    where in_flight = 0 and (deleted_at is not null or base_status in ('completed', 'failed', 'cancelled'))
      and greatest(updated_at, last_run_time, deleted_at) < $1::timestamptz
      and not exists (select from executions e where e.task_id = t.task_id)
    returning task_id, user_id, partition
), kept as (
    insert into retired_tasks (task_id, user_id, partition, sequence)
    select task_id, user_id, partition, $2::bigint from gone
    on conflict (task_id) do update set
        user_id = excluded.user_id, partition = excluded.partition, sequence = excluded.sequence
)
select count(*) from gone;

-- name: forget_history_of_retired
-- The changes of the tasks that went at a position.
delete from task_history h using retired_tasks r where r.sequence = $1 and h.task_id = r.task_id;

-- name: forget_status_changes_of_retired
-- Their changes of status.
delete from status_changes h using retired_tasks r where r.sequence = $1 and h.task_id = r.task_id;

-- name: record_retirement
-- Record a removal, for a rebuild to make it too.
insert into retirements (number, sequence, what, before, gone)
select coalesce(max(number), 0) + 1, $1::bigint, $2::text, $3::timestamptz, $4::bigint from retirements;

-- name: last_retirement
-- The last removal that was made.
select coalesce(max(number), 0) from retirements;

-- name: hold_exactly
-- Hold the position, if it is still this one.
select sequence from projector_position where stream_created = $1 and sequence = $2 for update;

-- name: kept_slot
-- Whether a slot of a schedule had an outcome that has been removed since.
select from kept_slots
where task_id = $1 and trigger = 'schedule' and month = date_trunc('month', $2::timestamptz, 'UTC')
  and extract(epoch from $2::timestamptz - date_trunc('month', $2::timestamptz, 'UTC'))::integer = any(offsets)
limit 1;
