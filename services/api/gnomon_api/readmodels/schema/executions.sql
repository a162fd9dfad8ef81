create table executions (
    execution_id     text        not null,    -- once: the fold sees to it
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
    completed_at     timestamptz,             -- null: in flight
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
    seq              bigint      not null,
    due_published_at timestamptz,             -- when the broker stored the due of the first attempt
    calendar_id      text,                    -- of blackouts, that touched the slot
    -- Later than half an hour after the slot: lists find those by an index of their own.
    ended_late       boolean     not null generated always as (
        coalesce(completed_at - scheduled_for > interval '30 minutes', false)
    ) stored
) partition by range (completed_at);
-- What is in flight. Rows change here.
create table executions_active partition of executions default with (fillfactor = 70);
-- What has ended, one part a month: the projector makes each when its first row is written.
create table executions_ended partition of executions for values from (minvalue) to (maxvalue)
    partition by range (completed_at);
create unique index executions_active_by_id on executions_active (execution_id);
create unique index executions_ended_by_id on executions_ended (execution_id, completed_at);
create index executions_by_recorded on executions (recorded_at, execution_id);
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
create index executions_ended_by_slot_time on executions_ended (coalesce(scheduled_for, 'infinity'), execution_id);
create index executions_ended_by_start on executions_ended (coalesce(started_at, recorded_at), execution_id);
create index executions_ended_by_end on executions_ended (coalesce(completed_at, 'infinity'), execution_id);
create index executions_by_slot on executions (task_id, scheduled_for) where trigger = 'schedule';
create index executions_of_backfills on executions (task_id, run) where trigger = 'backfill';

-- Outcomes on chains that had one already. There should be none; the audit tells.
create table second_endings (
    seq          bigint primary key,
    task_id      text        not null,
    execution_id text        not null,
    outcome      text        not null,
    occurred_at  timestamptz not null
);
create index second_endings_by_task on second_endings (task_id);
