-- Pages of lists stay quick with ten million executions: indexes that hold what lists filter and sort by, and which
-- executions ended late. With ten million executions this takes some minutes.
alter table executions add column ended_late boolean not null generated always as (
    coalesce(completed_at - scheduled_for > interval '30 minutes', false)
) stored;
drop index executions_by_task;
drop index executions_by_user;
drop index executions_by_type;
drop index executions_by_executor;
drop index executions_by_trigger;
drop index executions_ended_by_status;
create index executions_active_by_task on executions_active (task_id, recorded_at, execution_id);
create index executions_active_by_user on executions_active (user_id, recorded_at, execution_id);
create index executions_active_by_type on executions_active (task_type, recorded_at, execution_id);
-- What has ended does not change, so these hold what else lists ask for and sort by: what a filter leaves is put in any
-- order without a look at the table.
create index executions_ended_by_task on executions_ended (task_id, recorded_at, execution_id)
    include (status, scheduled_for, started_at, completed_at);
create index executions_ended_by_user on executions_ended (user_id, recorded_at, execution_id)
    include (status, scheduled_for, started_at, completed_at);
create index executions_ended_by_type on executions_ended (task_type, recorded_at, execution_id)
    include (status, scheduled_for, started_at, completed_at);
create index executions_ended_by_executor on executions_ended (executor, recorded_at, execution_id)
    include (status, scheduled_for, started_at, completed_at);
create index executions_ended_by_trigger on executions_ended (trigger, recorded_at, execution_id)
    include (status, scheduled_for, started_at, completed_at) where trigger <> 'schedule';
create index executions_ended_by_status on executions_ended (status, recorded_at, execution_id)
    include (task_id, user_id, task_type, executor, trigger, scheduled_for, started_at, completed_at)
    where status <> 'completed';
create index executions_ended_late on executions_ended (coalesce(scheduled_for, 'infinity'), execution_id)
    include (status, recorded_at, scheduled_for, started_at, completed_at) where ended_late;
-- Of the whole table: Postgres keeps statistics of an expression for such an index only.
drop index tasks_by_next_run;
drop index tasks_by_last_run;
drop index tasks_by_due;
create index tasks_by_next_run on tasks (coalesce(next_run_time, 'infinity'), task_id);
create index tasks_by_last_run on tasks (coalesce(last_run_time, 'infinity'), task_id);
create index tasks_by_due on tasks (coalesce(due_date, 'infinity'), task_id);
drop index tasks_by_user;
drop index tasks_by_status;
drop index tasks_by_type;
create index tasks_by_user on tasks (user_id, created_at, task_id, status, task_type, priority) where deleted_at is null;
create index tasks_by_status on tasks (status, created_at, task_id, task_type, priority, user_id)
    where deleted_at is null and status <> 'scheduled';
create index tasks_by_type on tasks (task_type, created_at, task_id, status, priority) where deleted_at is null;
