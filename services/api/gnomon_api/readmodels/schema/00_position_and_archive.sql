-- The read models, whole. The migrations must lead to exactly this; a test compares the two.
--
-- All tables but `requests`, `gnomon_migrations` and those of `run_logs` are written by the projector, in one
-- transaction with the position that they stand for, and can be made anew from `event_archive` and the stream. Times are
-- instants; JSON that is only carried is `json`, which keeps the text as it was, `\u0000` and order of keys included.

-- How far the read models are. One row; every write of the projector is guarded by it.
create table projector_position (
    only_row       boolean     primary key default true check (only_row),
    stream_created text        not null,  -- names the stream: one made later is another
    sequence       bigint      not null check (sequence >= 0),
    event_time     timestamptz not null   -- when the broker stored the event at `sequence`
);

-- Every event as it was stored, for a rebuild after the stream has been purged. One partition a day.
create table event_archive (
    seq       bigint      not null,
    stored_at timestamptz not null,
    subject   text        not null,
    headers   json        not null,
    payload   bytea       not null,
    primary key (seq, stored_at)
) partition by range (stored_at);
