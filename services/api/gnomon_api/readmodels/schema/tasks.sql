-- Every run of a task changes its row.
create table tasks (
    task_id              text primary key,
    user_id              text,
    partition            integer     not null,
    name                 text        not null,
    description          text,
    task_type            text        not null,
    priority             text        not null check (priority in ('urgent', 'high', 'medium', 'low')),
    tags                 jsonb       not null,
    metadata             jsonb       not null,
    template_id          text,
    -- As the shard tells it; `running` is derived below, since only the runs' own events tell it.
    base_status          text        not null
        check (base_status in ('pending', 'scheduled', 'completed', 'failed', 'cancelled', 'paused')),
    in_flight            integer     not null check (in_flight >= 0),
    status               text        not null generated always as (
        case when in_flight > 0 and base_status in ('pending', 'scheduled') then 'running' else base_status end
    ) stored,
    schedule             json,
    task                 json        not null,  -- the Task of the last created or updated event
    version              integer     not null,
    due_date             timestamptz,
    next_run_time        timestamptz,
    last_run_time        timestamptz,
    last_execution       json,
    run_count            bigint      not null,
    success_count        bigint      not null,
    failure_count        bigint      not null,
    consecutive_failures bigint      not null,
    created_at           timestamptz not null,
    updated_at           timestamptz not null,
    deleted_at           timestamptz,
    seen_until           timestamptz not null,  -- newest time in the task's events: next_run_time is the slot after it
    seq                  bigint      not null,  -- last event folded in
    active_day           integer     not null default 0,  -- last UTC day on which a run ended, in days since 1970
    slo_broken_since     timestamptz,           -- since when its lateness objective is broken
    -- For full-text search. No stemming and no stop words: tasks are named in many languages.
    words                tsvector    not null generated always as (
        to_tsvector('simple', name) || to_tsvector('simple', coalesce(description, ''))
            || jsonb_to_tsvector('simple', tags, '["string"]')
    ) stored,
    duration_sum_ms      bigint      not null default 0,  -- of all its executions that ended with a result
    heartbeat            json,                  -- its sign of life; null: it has none
    revision_from        timestamptz            -- from when on the revision counts of its last change
) with (fillfactor = 70);
-- For lists: each order, and each filter with the usual order. What nearly every task has needs no index of its own:
-- going through the order finds a page of it soon. Those of an expression are of the whole table: Postgres keeps
-- statistics of it for such an index only. What comes after the order is looked at before the table is: filters are
-- often asked for together, and in an order that has all that they leave out at its beginning.
create index tasks_by_created on tasks (created_at, task_id) where deleted_at is null;
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
create index tasks_by_user on tasks (user_id, created_at, task_id, status, task_type, priority) where deleted_at is null;
create index tasks_by_status on tasks (status, created_at, task_id, task_type, priority, user_id)
    where deleted_at is null and status <> 'scheduled';
create index tasks_by_type on tasks (task_type, created_at, task_id, status, priority) where deleted_at is null;
create index tasks_by_priority on tasks (priority, created_at, task_id)
    where deleted_at is null and priority <> 'medium';
create index tasks_by_template on tasks (template_id, created_at, task_id)
    where deleted_at is null and template_id is not null;
create index tasks_with_heartbeat on tasks (task_id) where deleted_at is null and heartbeat is not null;
create index tasks_deleted_by_user on tasks (user_id) where deleted_at is not null;
-- An array of the tags as they are spelled in JSON, where `", "` is nowhere within one.
create index tasks_by_tag on tasks using gin (string_to_array(left(substr(tags #>> '{}', 3), -2), '", "'));
create index tasks_by_metadata on tasks using gin (metadata jsonb_path_ops);
create index tasks_by_words on tasks using gin (words);

-- When which schedule of a task was in force: what the audit reckons its slots from. The order is that of `seq`.
create table slot_marks (
    seq      bigint primary key,
    task_id  text        not null,
    at       timestamptz not null,
    state    text        not null check (state in ('active', 'paused', 'over')),
    revision integer,     -- null, with the schedule: as the mark before it says
    schedule json
);
create index slot_marks_by_task on slot_marks (task_id, seq);
