-- name: changes_shown
-- What a change is shown from, and why the status changed where it did. Only those since the task was made: its id may
-- have been another task's before.
select seq, what, version, at, user_id, command_id, trace_id, changes,
       (select why.reason from status_changes as why
        where why.task_id = $1 and (why.seq = task_history.seq or why.command_id = task_history.command_id)
        order by why.seq limit 1) as status_reason
from task_history
where task_id = $1
  and seq >= coalesce((select max(seq) from task_history where task_id = $1 and what = 'created'), 0);

-- name: changes_of_fields
-- Changes of at least one of these fields.
exists (select from json_array_elements(changes) as change where change ->> 'field' = any($1::text[]));

-- name: changes_by_users
-- Changes that these users asked for.
user_id = any($1::text[]);

-- name: changes_until
-- Up to an instant.
at <= $2::timestamptz order by seq desc;

-- name: archived_event
-- One event by its sequence; it was stored after an instant.
select subject, payload from event_archive where seq = $1 and stored_at >= $2::timestamptz;

-- name: task_runs_at
-- What runs had told of a task at an instant: how many have ended since, by how they ended; failures in a row, from the
-- end of a pause on where there was one, and the last good end before them; whether anything was in flight.
select count(*) filter (where completed_at > $2 and status in ('completed', 'failed', 'timed_out', 'cancelled')) as runs_since,
       count(*) filter (where completed_at > $2 and status = 'completed') as successes_since,
       count(*) filter (where completed_at > $2 and status in ('failed', 'timed_out')) as failures_since,
       count(*) filter (where completed_at <= $2 and status in ('failed', 'timed_out') and trigger <> 'backfill'
                          and completed_at > greatest(coalesce(last_good, '-infinity'), coalesce($3::timestamptz, '-infinity'))
                       ) as failures_in_row,
       max(last_good) as last_good,
       coalesce(bool_or(recorded_at <= $2 and (completed_at is null or completed_at > $2)), false) as in_flight
from executions,
     (select max(completed_at) as last_good from executions
      where task_id = $1 and completed_at <= $2 and status = 'completed' and trigger <> 'backfill') as good
where task_id = $1;

-- name: executions_removed_before
-- Of the executions that ended before this instant none is left; of those after it all are. No row: none was removed.
select before from retirements where what = 'executions' order by before desc limit 1;

-- name: last_result_at
-- The newest result of a task at an instant.
select execution_id, run, status, completed_at, duration_ms, error, attempts from executions
where task_id = $1 and completed_at <= $2 and status in ('completed', 'failed', 'timed_out', 'cancelled')
order by completed_at desc, execution_id desc limit 1;

-- name: slots_counted_between
-- Slots of a task that counted as runs of a schedule with `max_runs`, recorded in (after, until].
select count(*) as counted from executions
where task_id = $1 and trigger = 'schedule' and recorded_at > $2 and recorded_at <= $3
  and not (status = 'skipped' and reason in ('overlap', 'limit'));
