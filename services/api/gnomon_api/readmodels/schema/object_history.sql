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
