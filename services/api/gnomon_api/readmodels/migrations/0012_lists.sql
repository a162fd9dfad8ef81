-- Full-text search, and an index for every order and every filter of the lists.
alter table tasks add column words tsvector not null generated always as (
    to_tsvector('simple', name) || to_tsvector('simple', coalesce(description, ''))
        || jsonb_to_tsvector('simple', tags, '["string"]')
) stored;
drop index tasks_by_next_run;
create index tasks_by_updated on tasks (updated_at, task_id) where deleted_at is null;
create index tasks_by_next_run on tasks (coalesce(next_run_time, 'infinity'), task_id) where deleted_at is null;
create index tasks_by_last_run on tasks (coalesce(last_run_time, 'infinity'), task_id) where deleted_at is null;
create index tasks_by_due on tasks (coalesce(due_date, 'infinity'), task_id) where deleted_at is null;
create index tasks_by_name on tasks (name, task_id) where deleted_at is null;
create index tasks_by_status on tasks (status, created_at, task_id) where deleted_at is null and status <> 'scheduled';
create index tasks_by_type on tasks (task_type, created_at, task_id) where deleted_at is null;
create index tasks_by_priority on tasks (priority, created_at, task_id)
    where deleted_at is null and priority <> 'medium';
create index tasks_by_template on tasks (template_id, created_at, task_id)
    where deleted_at is null and template_id is not null;
create index tasks_by_words on tasks using gin (words);
create index executions_by_type on executions (task_type, recorded_at, execution_id);
create index executions_by_executor on executions (executor, recorded_at, execution_id);
create index executions_by_trigger on executions (trigger, recorded_at, execution_id) where trigger <> 'schedule';
create index executions_ended_by_status on executions_ended (status, recorded_at, execution_id)
    where status <> 'completed';
create index executions_ended_by_slot_time on executions_ended (coalesce(scheduled_for, 'infinity'), execution_id);
create index executions_ended_by_start on executions_ended (coalesce(started_at, recorded_at), execution_id);
create index executions_ended_by_end on executions_ended (coalesce(completed_at, 'infinity'), execution_id);
