-- Which tasks have a sign of life: looked for after every audit. In columns of their own, since the database cannot look
-- into a task that holds a character with code 0; those of before get theirs with their next change.
alter table tasks add column heartbeat json, add column revision_from timestamptz;
update tasks
set heartbeat = nullif((task->'heartbeat')::text, 'null')::json,
    revision_from = (task->>'revision_from')::timestamptz
where strpos(task::text, '\u0000') = 0;
create index tasks_with_heartbeat on tasks (task_id) where deleted_at is null and heartbeat is not null;
