-- name: task_columns
-- What a task is shown from; the beginning of every statement that reads tasks.
select task_id, user_id, name, task, schedule, base_status, status, version, due_date, next_run_time, last_run_time,
       last_execution, run_count, success_count, failure_count, consecutive_failures, created_at, updated_at, deleted_at,
       slo_broken_since, duration_sum_ms
from tasks;

-- name: task_by_id
-- One task, deleted or not.
where task_id = $1;

-- name: tasks_present
-- Lists show tasks that have not been deleted.
deleted_at is null;

-- name: tasks_with_status
-- Status as it is shown, running included.
status = any($1::text[]);

-- name: tasks_with_task_type
-- Task types.
task_type = any($1::text[]);

-- name: tasks_with_user_id
-- Owners.
user_id = any($1::text[]);

-- name: tasks_with_tag
-- At least one of these tags, each spelled as within quotes in JSON. Postgres keeps statistics of the elements of an
-- array, not of `jsonb`: it knows which tags are frequent.
string_to_array(left(substr(tags #>> '{}', 3), -2), '", "') && $1::text[];

-- name: tasks_with_priority
-- Priorities.
priority = any($1::text[]);

-- name: tasks_with_template_id
-- Templates that they were made from.
template_id = any($1::text[]);

-- name: tasks_with_q
-- Words in name, description or tags.
words @@ to_tsquery('simple', $1::text);

-- name: tasks_with_metadata
-- Metadata that has one of these members, at the top level.
metadata @> any($1::jsonb[]);

-- name: tasks_with_created_after
-- Created after an instant.
created_at > $1::timestamptz;

-- name: tasks_with_created_before
-- Created before an instant.
created_at < $1::timestamptz;

-- name: tasks_with_due_after
-- Due after an instant.
coalesce(due_date, 'infinity') > $1::timestamptz and coalesce(due_date, 'infinity') < 'infinity';

-- name: tasks_with_due_before
-- Due before an instant.
coalesce(due_date, 'infinity') < $1::timestamptz;

-- name: tasks_overdue
-- Due before now, and not done.
coalesce(due_date, 'infinity') < now() and base_status not in ('completed', 'cancelled');

-- name: tasks_with_next_run_before
-- Next slot before an instant.
coalesce(next_run_time, 'infinity') < $1::timestamptz;

-- name: tasks_updated_after
-- Changed after an instant, as what was created after it has been.
updated_at > $1::timestamptz;

-- name: tasks_without_slots
-- Nothing is planned.
coalesce(next_run_time, 'infinity') = 'infinity';

-- name: task_counts
-- How many tasks there are by status, for the dashboard.
select status, count(*) as tasks from tasks where deleted_at is null group by status order by status;
