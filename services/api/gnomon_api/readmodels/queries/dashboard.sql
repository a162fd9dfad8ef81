-- name: task_names
-- The names of some tasks.
select task_id, name from tasks where task_id = any($1::text[]);
