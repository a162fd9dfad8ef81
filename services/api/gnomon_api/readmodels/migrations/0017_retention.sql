-- Slots of executions that have been removed, as the audit needs them: which had which outcome. See retention.py.
create table kept_slots (
    task_id  text        not null,
    month    timestamptz not null,  -- of the nominal times, UTC
    revision integer     not null,  -- -1: not known
    trigger  text        not null,
    status   text        not null,
    reason   text        not null,  -- empty: none
    slots    bigint      not null,
    offsets  integer[]   not null,  -- the nominal times, in seconds since the month began
    primary key (task_id, month, revision, trigger, status, reason)
);

-- Whose tasks have been removed.
create table retired_tasks (
    task_id   text primary key,
    user_id   text,
    partition integer not null,
    sequence  bigint  not null      -- position at which it went
);
create index retired_tasks_by_sequence on retired_tasks (sequence);

-- What was removed, at which position of the projector.
create table retirements (
    number   bigint primary key,
    sequence bigint      not null,
    what     text        not null check (what in ('executions', 'tasks')),
    before   timestamptz not null,
    gone     bigint      not null
);
