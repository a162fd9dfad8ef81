-- What handlers logged, taken from the stream TASK_LOGS. No event tells it, so a rebuild leaves it alone.
create table run_logs (
    execution_id text        not null,
    claim        bigint      not null,  -- sequence of the `task.started` that tells the tries of an execution apart
    n            integer     not null,  -- counts the lines of one claim
    attempt      integer     not null,
    at           timestamptz not null,  -- by the executor's clock
    level        text        not null check (level in ('debug', 'info', 'warning', 'error')),
    message      text        not null,
    details      json        not null,  -- null, or an object
    executor     text        not null,
    stored_at    timestamptz not null,  -- when the broker stored it
    primary key (execution_id, claim, n)
);
create index run_logs_by_age on run_logs using brin (stored_at);

-- How far that stream has been taken in. One row.
create table run_log_position (
    only_row       boolean primary key default true check (only_row),
    stream_created text    not null,
    sequence       bigint  not null
);
