-- Calendars of blackouts, the deleted ones too: each row is what the newest event tells.
create table calendars (
    calendar_id text primary key,
    name        text        not null,
    description text,
    action      text        not null,
    tags        jsonb       not null,  -- of its selector
    enabled     boolean     not null,
    calendar    json        not null,
    version     integer     not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    deleted_at  timestamptz,
    seq         bigint      not null
);
