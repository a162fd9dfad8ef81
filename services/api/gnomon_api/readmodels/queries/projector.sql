-- name: begin_position
-- The first position of a fresh database; changes nothing where there is one.
insert into projector_position (stream_created, sequence, event_time) values ($1, 0, 'epoch')
on conflict (only_row) do nothing;

-- name: read_position
-- How far the read models are.
select stream_created, sequence, event_time from projector_position;

-- name: hold_position
-- How far the read models are, held: until the transaction ends no projector writes.
select stream_created, sequence, event_time from projector_position for update;

-- name: read_archive
-- Archived events in order, up to and including a sequence.
select seq, stored_at, subject, headers, payload from event_archive where seq > $1 and seq <= $2 order by seq limit $3;

-- name: has_part
-- Whether a part of a table is there, in the schema where it would be made.
select to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1)) is not null;

-- name: parts_of
-- The parts that a table has, and their parts.
select relid::regclass::text as name from pg_partition_tree($1::text::regclass) where level > 0;
