-- Templates, and the changes of all objects besides tasks.
-- Templates, the deleted ones too: each row is what the newest event tells.
create table templates (
    template_id text primary key,
    name        text        not null,
    description text,
    category    text        not null,
    task_type   text        not null,
    level       integer     not null,  -- rank of the subscription level that it asks for; 0: free
    tags        jsonb       not null,
    is_active   boolean     not null,
    template    json        not null,
    version     integer     not null,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    deleted_at  timestamptz,
    seq         bigint      not null
);

-- Every accepted change of a template, calendar or account: who, when, which fields.
create table object_history (
    seq        bigint primary key,
    kind       text        not null,
    object_id  text        not null,
    version    integer     not null,
    what       text        not null,
    at         timestamptz not null,
    user_id    text,
    command_id text,
    trace_id   text,
    changes    json        not null
);
create index object_history_by_object on object_history (kind, object_id, seq);
