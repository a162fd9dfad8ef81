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
