-- What is set of pools. A pool that is not in here has nothing set.
create table pools (
    pool          text primary key,
    max_in_flight integer,     -- null: as many as executors take
    paused        boolean     not null,
    version       integer     not null,
    updated_at    timestamptz not null,
    changed_by    text,
    seq           bigint      not null
);
