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
