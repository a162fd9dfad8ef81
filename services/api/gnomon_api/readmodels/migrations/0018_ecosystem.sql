-- Messages of other services that could not be acted on, set aside with the reason. No event tells them, so a rebuild
-- leaves them alone.
create table ecosystem_poison (
    poison_id    text primary key,           -- a hash of subject and name
    name         text        not null,       -- of the message: its id, or the stream and sequence where it is
    subject      text        not null,
    stored_at    timestamptz not null,       -- when it was stored in the stream that it was read from
    payload      bytea       not null,
    headers      json        not null,
    reason       text        not null,
    set_aside_at timestamptz not null default now()
);
