-- The read models, whole. The migrations must lead to exactly this; a test compares the two.
--
-- All tables but `requests` and `gnomon_migrations` are written by the projector, in one transaction with the position
-- that they stand for, and can be made anew from `event_archive` and the stream. Times are instants; JSON that is only
-- carried is `json`, which keeps the text as it was, `\u0000` and order of keys included.

-- How far the read models are. One row; every write of the projector is guarded by it.
create table projector_position (
    only_row       boolean     primary key default true check (only_row),
    stream_created text        not null,  -- names the stream: one made later is another
    sequence       bigint      not null check (sequence >= 0),
    event_time     timestamptz not null   -- when the broker stored the event at `sequence`
);

-- Every event as it was stored, for a rebuild after the stream has been purged. One partition a day.
create table event_archive (
    seq       bigint      not null,
    stored_at timestamptz not null,
    subject   text        not null,
    headers   json        not null,
    payload   bytea       not null,
    primary key (seq, stored_at)
) partition by range (stored_at);

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
    seq                  bigint      not null   -- last event folded in
) with (fillfactor = 70);  -- every run of a task changes its row: leave room to do so in place
create index tasks_by_created on tasks (created_at, task_id) where deleted_at is null;
create index tasks_by_next_run on tasks (next_run_time, task_id) where deleted_at is null;
create index tasks_by_user on tasks (user_id, created_at, task_id) where deleted_at is null;
create index tasks_by_tag on tasks using gin (tags);
create index tasks_by_metadata on tasks using gin (metadata jsonb_path_ops);

create table executions (
    execution_id     text primary key,
    task_id          text        not null,
    run              text        not null,
    user_id          text,
    task_type        text,
    partition        integer     not null,
    status           text        not null check (status in (
        'queued', 'running', 'retrying', 'completed', 'failed', 'cancelled', 'timed_out',
        'skipped', 'missed', 'coalesced')),
    reason           text,
    trigger          text        not null,
    trigger_data     json,
    config_overrides json,
    scheduled_for    timestamptz,
    due_at           timestamptz,
    started_at       timestamptz,             -- of the first attempt
    completed_at     timestamptz,
    duration_ms      bigint,
    attempt          integer     not null,
    attempts         json        not null,
    result           json,
    result_truncated boolean     not null,
    error            json,
    credits_consumed double precision not null,
    tokens_used      bigint      not null,
    api_calls_made   bigint      not null,
    executor         text,
    retry_of         text,
    dead_letter      text,                    -- why it was given up for good
    into_run         text,                    -- of a coalesced slot: the run that ran instead
    revision         integer,
    trace_id         text,
    recorded_at      timestamptz not null,    -- of its first event: the order of lists
    seq              bigint      not null
) with (fillfactor = 85);
create index executions_by_recorded on executions (recorded_at, execution_id);
create index executions_by_task on executions (task_id, recorded_at, execution_id);
create index executions_by_user on executions (user_id, recorded_at, execution_id);
create index executions_in_flight on executions (task_id) where status in ('queued', 'running', 'retrying');

-- Slots that were passed over in bulk.
create table slot_spans (
    seq         bigint primary key,
    task_id     text        not null,
    user_id     text,
    outcome     text        not null check (outcome in ('skipped', 'missed', 'coalesced')),
    reason      text        not null,
    revision    integer     not null,
    from_at     timestamptz,
    to_at       timestamptz,
    slots       bigint      not null,
    into_run    text,
    occurred_at timestamptz not null
);
create index slot_spans_by_task on slot_spans (task_id, from_at);

-- Every accepted change of a task: who, when, which fields.
create table task_history (
    seq        bigint primary key,
    task_id    text        not null,
    version    integer     not null,
    what       text        not null check (what in ('created', 'updated', 'deleted')),
    at         timestamptz not null,
    user_id    text,
    command_id text,
    trace_id   text,
    changes    json        not null
);
create index task_history_by_task on task_history (task_id, seq);

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

-- Outcomes on chains that had one already. There should be none; the audit tells.
create table second_endings (
    seq          bigint primary key,
    task_id      text        not null,
    execution_id text        not null,
    outcome      text        not null,
    occurred_at  timestamptz not null
);
create index second_endings_by_task on second_endings (task_id);
create index executions_by_slot on executions (task_id, scheduled_for) where trigger = 'schedule';
create index executions_of_backfills on executions (task_id, run) where trigger = 'backfill';

-- What is set of pools. A pool that is not in here has nothing set.
create table pools (
    pool          text primary key,
    max_in_flight integer,     -- null: as many as executors take
    paused        boolean     not null,
    version       integer     not null,
    updated_at    timestamptz not null,
    changed_by    text,
    seq           bigint      not null
);

-- What became of each command: the first event that carries its id answers it.
create table commands (
    command_id   text primary key,
    task_id      text        not null,
    user_id      text,
    execution_id text,
    status       text        not null check (status in ('ok', 'refused')),
    event        text        not null,
    problem      json,
    decided_at   timestamptz not null,
    seq          bigint      not null
);

-- What callers asked over HTTP, written by the api and not from events: the body that belongs to an Idempotency-Key,
-- and commands whose callers were sent away before there was an outcome.
create table requests (
    request_id text primary key,              -- from user, route and key; the command id where there was no key
    generation integer     not null default 0,  -- goes up when the key is used afresh after its 24 h
    user_id    text        not null,
    task_id    text        not null,
    body_hash  bytea,
    asked_at   timestamptz not null default now()
);
create index requests_by_age on requests (asked_at);

-- Which migrations have been applied.
create table gnomon_migrations (
    version    integer primary key,
    name       text        not null,
    applied_at timestamptz not null default now()
);
