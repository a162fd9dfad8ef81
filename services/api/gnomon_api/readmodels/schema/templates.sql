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
