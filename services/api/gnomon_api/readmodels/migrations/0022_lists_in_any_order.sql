-- Lists in any order: executions that ended late are found by themselves, and the orders of tasks hold what else is
-- asked for.
drop index executions_ended_late;
-- What ended later than half an hour after its slot, or has none, is little: its times are far from one another, so
-- lists look for it by itself. By week of the slot, each week in three orders; weeks are counted since 1970.
create index executions_late_by_task on executions_ended (task_id, recorded_at, execution_id)
    include (status, scheduled_for, started_at, completed_at) where ended_late or scheduled_for is null;
create index executions_late_by_user on executions_ended (user_id, recorded_at, execution_id)
    include (status, scheduled_for, started_at, completed_at) where ended_late or scheduled_for is null;
create index executions_late_by_status on executions_ended (status, recorded_at, execution_id)
    include (task_id, user_id, task_type, executor, trigger, scheduled_for, started_at, completed_at)
    where ended_late or scheduled_for is null;
create index executions_late_by_record on executions_ended (
    (((scheduled_for at time zone 'UTC')::date - date '1970-01-01') / 7), recorded_at, execution_id
) include (status, task_type, trigger, scheduled_for) where ended_late or scheduled_for is null;
create index executions_late_by_start on executions_ended (
    (((scheduled_for at time zone 'UTC')::date - date '1970-01-01') / 7), coalesce(started_at, recorded_at), execution_id
) include (status, task_type, trigger, scheduled_for, started_at, recorded_at) where ended_late or scheduled_for is null;
create index executions_late_by_end on executions_ended (
    (((scheduled_for at time zone 'UTC')::date - date '1970-01-01') / 7), coalesce(completed_at, 'infinity'), execution_id
) include (status, task_type, trigger, scheduled_for, completed_at) where ended_late or scheduled_for is null;
drop index tasks_by_updated;
drop index tasks_by_next_run;
drop index tasks_by_last_run;
drop index tasks_by_due;
drop index tasks_by_name;
create index tasks_by_updated on tasks (updated_at, task_id, status, user_id, task_type, priority, created_at)
    where deleted_at is null;
create index tasks_by_next_run on tasks (
    coalesce(next_run_time, 'infinity'), task_id, status, user_id, task_type, priority, created_at
);
create index tasks_by_last_run on tasks (
    coalesce(last_run_time, 'infinity'), task_id, status, user_id, task_type, priority, created_at
);
create index tasks_by_due on tasks (
    coalesce(due_date, 'infinity'), task_id, status, user_id, task_type, priority, created_at
);
create index tasks_by_name on tasks (name, task_id, status, user_id, task_type, priority, created_at)
    where deleted_at is null;
