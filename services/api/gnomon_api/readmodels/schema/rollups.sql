-- Hourly sums of what ran, made from events alone: what analytics are made of.
create table run_rollups (
    user_id        text        not null,  -- empty: the system's own tasks
    hour           timestamptz not null,
    task_type      text        not null,
    completed      bigint      not null,
    failed         bigint      not null,
    timed_out      bigint      not null,
    cancelled      bigint      not null,
    duration_ms    bigint      not null,
    micro_credits  bigint      not null,  -- millionths: whole numbers add up to the same in any order
    tokens_used    bigint      not null,
    api_calls_made bigint      not null,
    primary key (user_id, hour, task_type)
) with (fillfactor = 70);

-- The same over all users.
create table platform_rollups (
    hour           timestamptz not null,
    task_type      text        not null,
    completed      bigint      not null,
    failed         bigint      not null,
    timed_out      bigint      not null,
    cancelled      bigint      not null,
    duration_ms    bigint      not null,
    micro_credits  bigint      not null,
    tokens_used    bigint      not null,
    api_calls_made bigint      not null,
    primary key (hour, task_type)
) with (fillfactor = 70);

-- What is only told of the platform as a whole.
create table platform_hours (
    hour                  timestamptz primary key,
    starts                bigint not null,  -- first starts of slots
    on_time               bigint not null,
    created               bigint not null,
    created_from_template bigint not null,
    create_refused        bigint not null,
    active_tasks          bigint not null,  -- tasks whose first run of the UTC day ended in this hour
    missed                bigint not null default 0  -- slots that were to start and did not, however late
) with (fillfactor = 70);

-- How late slots started: bucket k is up to 2^(k/4) milliseconds.
create table start_latency (
    hour   timestamptz not null,
    bucket smallint    not null,
    starts bigint      not null,
    primary key (hour, bucket)
) with (fillfactor = 70);
