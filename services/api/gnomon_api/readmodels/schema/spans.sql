-- Slots that were passed over in bulk.
create table slot_spans (
    seq         bigint primary key,
    task_id     text        not null,
    user_id     text,
    outcome     text        not null check (outcome in ('skipped', 'missed', 'coalesced')),
    reason      text        not null,
    revision    integer     not null,
    from_at     timestamptz,
    to_at       timestamptz,
    slots       bigint      not null,
    into_run    text,
    occurred_at timestamptz not null,
    calendar_id text                    -- of blackouts, that touched the slots
);
create index slot_spans_by_task on slot_spans (task_id, from_at);
