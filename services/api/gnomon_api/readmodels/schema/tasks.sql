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
    slo_broken_since     timestamptz          -- since when its lateness objective is broken
) with (fillfactor = 70);  -- every run of a task changes its row: leave room to do so in place
create index tasks_by_created on tasks (created_at, task_id) where deleted_at is null;
create index tasks_by_next_run on tasks (next_run_time, task_id) where deleted_at is null;
create index tasks_by_user on tasks (user_id, created_at, task_id) where deleted_at is null;
create index tasks_by_tag on tasks using gin (tags);
create index tasks_by_metadata on tasks using gin (metadata jsonb_path_ops);

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
