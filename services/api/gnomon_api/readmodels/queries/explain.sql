-- name: latest_execution
-- The execution of a task that was recorded last, with the sequence of its newest folded event.
select execution_id, run, scheduled_for, trigger, recorded_at, seq from executions
where task_id = $1 order by recorded_at desc, execution_id desc limit 1;

-- name: execution_of_run
-- The same of one run.
select execution_id, run, scheduled_for, trigger, recorded_at, seq from executions where execution_id = $1;

-- name: span_over
-- The slots passed over in bulk that an instant lies among; where two speak of it, the first that was stored.
select seq, outcome, reason, revision, from_at, to_at, slots, into_run, occurred_at from slot_spans
where task_id = $1 and from_at <= $2::timestamptz and to_at > $2::timestamptz order by seq limit 1;

-- name: changes_of_task
-- The newest changes of a task, newest first.
select seq, version, what, at, user_id, command_id, changes from task_history where task_id = $1 order by seq desc limit $2;

-- name: archived_chain
-- The events of an execution that the stream has purged: by their subjects, from the day of the first one on.
select seq, stored_at, subject, payload from event_archive
where stored_at >= $1::timestamptz and subject = any($2::text[]) order by seq;

-- name: revisions_of_task
-- From when on which revision of a task's schedule counts, in order.
select at, revision, schedule from slot_marks where task_id = $1 and revision is not null order by seq;

-- name: read_models_at
-- How far the read models are.
select sequence, event_time from projector_position;

-- name: runs_in_flight
-- Runs of a task that have not ended, the oldest first; backfills have a lane of their own.
select run from executions
where task_id = $1 and status in ('queued', 'running', 'retrying') and trigger <> 'backfill'
order by recorded_at, execution_id limit 100;

-- name: pool_now
-- What is set of a pool.
select paused, max_in_flight from pools where pool = $1;
