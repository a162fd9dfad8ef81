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
