-- Which tasks have a sign of life: looked for after every audit.
create index tasks_with_heartbeat on tasks (task_id)
    where deleted_at is null and (task->>'heartbeat') is not null;
