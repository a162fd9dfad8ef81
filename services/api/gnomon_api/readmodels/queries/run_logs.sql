-- name: run_log_position
-- How far the stream of log lines has been taken in.
select stream_created, sequence from run_log_position;

-- name: begin_run_logs
-- From where a stream is taken in that this database has taken nothing of yet, or less than it believes.
insert into run_log_position (stream_created, sequence) values ($1, $2)
on conflict (only_row) do update set stream_created = excluded.stream_created, sequence = excluded.sequence;

-- name: add_run_logs
-- The lines of some messages, each line once however often it was sent, and how far the stream has been taken in with
-- them: together or not at all. The position goes further, never back: a keeper that was deposed meanwhile does not
-- change it. Details are JSON in a text here: what stands in them is kept as it is, also what JSON may say and text of
-- Postgres may not.
with added as (
    insert into run_logs (execution_id, claim, n, attempt, at, level, message, details, executor, stored_at)
    select told.execution_id, told.claim, line.n, told.attempt, line.at, line.level, line.message, line.details::json,
           told.executor, told.stored_at
    from unnest($3::text[], $4::bigint[], $5::integer[], $6::text[], $7::timestamptz[], $8::json[])
             as told (execution_id, claim, attempt, executor, stored_at, lines),
         json_to_recordset(told.lines)
             as line (n integer, at timestamptz, level text, message text, details text)
    on conflict (execution_id, claim, n) do nothing)
update run_log_position set sequence = $2 where stream_created = $1 and sequence < $2;

-- name: forget_run_logs
-- Some of the lines that were stored before an instant leave; how many.
with gone as (delete from run_logs where ctid = any(array(select ctid from run_logs where stored_at < $1 limit $2))
              returning 1)
select count(*) as gone from gone;

-- name: run_log_lines
-- Lines of an execution after one of them, in order.
select claim, n, attempt, at, level, message, details, executor from run_logs
where execution_id = $1 and (claim, n) > ($2::bigint, $3::integer)
  and ($4::integer is null or attempt = $4) and ($5::text[] is null or level = any($5))
order by claim, n limit $6;
