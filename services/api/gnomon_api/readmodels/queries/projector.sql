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

-- name: move_position
-- Compare and set: takes the row's lock first, so that a deposed projector waits here and then changes nothing.
update projector_position set sequence = $3, event_time = $4 where stream_created = $1 and sequence = $2;

-- name: load_tasks
-- What runs change in the rows of these tasks, in the order of TaskRow.
select task_id, schedule, base_status, in_flight, version, next_run_time, last_run_time, last_execution, run_count,
       success_count, failure_count, consecutive_failures, updated_at, deleted_at, seen_until, seq
from tasks where task_id = any($1::text[]);

-- name: load_executions
-- The rows of these executions, as the fold knows them.
select execution_id, task_id, run, user_id, task_type, partition, status, trigger, attempt, recorded_at, seq, reason,
       trigger_data, config_overrides, scheduled_for, due_at, started_at, completed_at, duration_ms, result,
       result_truncated, error, credits_consumed, tokens_used, api_calls_made, executor, retry_of, dead_letter,
       into_run, revision, trace_id, attempts
from executions where execution_id = any($1::text[]);

-- name: stage_tasks
-- Where rows of tasks are copied to on their way: COPY is twice as fast as parameters, and cannot update.
create temporary table if not exists staged_tasks as
select task_id, schedule, base_status, in_flight, version, next_run_time, last_run_time, last_execution, run_count,
       success_count, failure_count, consecutive_failures, updated_at, deleted_at, seen_until, seq
from tasks with no data;

-- name: stage_definitions
-- The same for what only callers change.
create temporary table if not exists staged_definitions as
select task_id, user_id, partition, name, description, task_type, priority, tags, metadata, template_id, task,
       due_date, created_at
from tasks with no data;

-- name: stage_executions
-- The same for executions.
create temporary table if not exists staged_executions as select * from executions with no data;

-- name: stage_commands
-- The same for commands.
create temporary table if not exists staged_commands as select * from commands with no data;

-- name: merge_definitions
-- Tasks that a caller made or changed: the whole row.
insert into tasks (task_id, user_id, partition, name, description, task_type, priority, tags, metadata, template_id,
                   task, due_date, created_at, schedule, base_status, in_flight, version, next_run_time, last_run_time,
                   last_execution, run_count, success_count, failure_count, consecutive_failures, updated_at,
                   deleted_at, seen_until, seq)
select d.task_id, d.user_id, d.partition, d.name, d.description, d.task_type, d.priority, d.tags, d.metadata,
       d.template_id, d.task, d.due_date, d.created_at, s.schedule, s.base_status, s.in_flight, s.version,
       s.next_run_time, s.last_run_time, s.last_execution, s.run_count, s.success_count, s.failure_count,
       s.consecutive_failures, s.updated_at, s.deleted_at, s.seen_until, s.seq
from staged_definitions d join staged_tasks s using (task_id)
on conflict (task_id) do update set
    user_id = excluded.user_id, partition = excluded.partition, name = excluded.name,
    description = excluded.description, task_type = excluded.task_type, priority = excluded.priority,
    tags = excluded.tags, metadata = excluded.metadata, template_id = excluded.template_id, task = excluded.task,
    due_date = excluded.due_date, created_at = excluded.created_at, schedule = excluded.schedule,
    base_status = excluded.base_status, in_flight = excluded.in_flight, version = excluded.version,
    next_run_time = excluded.next_run_time, last_run_time = excluded.last_run_time,
    last_execution = excluded.last_execution, run_count = excluded.run_count, success_count = excluded.success_count,
    failure_count = excluded.failure_count, consecutive_failures = excluded.consecutive_failures,
    updated_at = excluded.updated_at, deleted_at = excluded.deleted_at, seen_until = excluded.seen_until,
    seq = excluded.seq;

-- name: merge_tasks
-- Tasks that only runs have changed: what runs change.
update tasks t set
    base_status = s.base_status, in_flight = s.in_flight, version = s.version, next_run_time = s.next_run_time,
    last_run_time = s.last_run_time, last_execution = s.last_execution, run_count = s.run_count,
    success_count = s.success_count, failure_count = s.failure_count, consecutive_failures = s.consecutive_failures,
    updated_at = s.updated_at, deleted_at = s.deleted_at, seen_until = s.seen_until, seq = s.seq
from staged_tasks s
where t.task_id = s.task_id and not exists (select from staged_definitions d where d.task_id = s.task_id);

-- name: merge_executions
-- Executions, new or changed.
insert into executions select * from staged_executions
on conflict (execution_id) do update set
    user_id = excluded.user_id, task_type = excluded.task_type, status = excluded.status, trigger = excluded.trigger,
    attempt = excluded.attempt, seq = excluded.seq, reason = excluded.reason, trigger_data = excluded.trigger_data,
    config_overrides = excluded.config_overrides, scheduled_for = excluded.scheduled_for, due_at = excluded.due_at,
    started_at = excluded.started_at, completed_at = excluded.completed_at, duration_ms = excluded.duration_ms,
    result = excluded.result, result_truncated = excluded.result_truncated, error = excluded.error,
    credits_consumed = excluded.credits_consumed, tokens_used = excluded.tokens_used,
    api_calls_made = excluded.api_calls_made, executor = excluded.executor, retry_of = excluded.retry_of,
    dead_letter = excluded.dead_letter, into_run = excluded.into_run, revision = excluded.revision,
    trace_id = excluded.trace_id, attempts = excluded.attempts;

-- name: merge_commands
-- What became of commands; the first event that carries a command's id answers it.
insert into commands select * from staged_commands on conflict (command_id) do nothing;

-- name: clear_stage
-- Ready for the next batch; a statement of its own, since several batches may share a transaction.
truncate staged_tasks, staged_definitions, staged_executions, staged_commands;

-- name: write_batch
-- A small batch at once: position, archive and rows, all of it or, where the position has moved, nothing.
with moved as (
    update projector_position set sequence = $3, event_time = $4
    where stream_created = $1 and sequence = $2 returning sequence
), archived as (
    insert into event_archive (seq, stored_at, subject, headers, payload)
    select * from unnest(
        $5::bigint[], $6::timestamptz[], $7::text[], $8::json[], $9::bytea[]
    ) where exists (select from moved)
), defined as (
    insert into tasks (
        task_id, user_id, partition, name, description, task_type, priority, tags, metadata, template_id, task,
        due_date, created_at, schedule, base_status, in_flight, version, next_run_time, last_run_time,
        last_execution, run_count, success_count, failure_count, consecutive_failures, updated_at, deleted_at,
        seen_until, seq
    )
    select * from unnest(
        $10::text[], $11::text[], $12::integer[], $13::text[], $14::text[], $15::text[], $16::text[], $17::jsonb[],
        $18::jsonb[], $19::text[], $20::json[], $21::timestamptz[], $22::timestamptz[], $23::json[], $24::text[],
        $25::integer[], $26::integer[], $27::timestamptz[], $28::timestamptz[], $29::json[], $30::bigint[],
        $31::bigint[], $32::bigint[], $33::bigint[], $34::timestamptz[], $35::timestamptz[], $36::timestamptz[],
        $37::bigint[]
    ) where exists (select from moved)
    on conflict (task_id) do update set
        user_id = excluded.user_id, partition = excluded.partition, name = excluded.name, description =
        excluded.description, task_type = excluded.task_type, priority = excluded.priority, tags = excluded.tags,
        metadata = excluded.metadata, template_id = excluded.template_id, task = excluded.task, due_date =
        excluded.due_date, created_at = excluded.created_at, schedule = excluded.schedule, base_status =
        excluded.base_status, in_flight = excluded.in_flight, version = excluded.version, next_run_time =
        excluded.next_run_time, last_run_time = excluded.last_run_time, last_execution = excluded.last_execution,
        run_count = excluded.run_count, success_count = excluded.success_count, failure_count =
        excluded.failure_count, consecutive_failures = excluded.consecutive_failures, updated_at =
        excluded.updated_at, deleted_at = excluded.deleted_at, seen_until = excluded.seen_until, seq = excluded.seq
), ran as (
    update tasks t set
        base_status = s.base_status, in_flight = s.in_flight, version = s.version, next_run_time = s.next_run_time,
        last_run_time = s.last_run_time, last_execution = s.last_execution, run_count = s.run_count, success_count =
        s.success_count, failure_count = s.failure_count, consecutive_failures = s.consecutive_failures, updated_at
        = s.updated_at, deleted_at = s.deleted_at, seen_until = s.seen_until, seq = s.seq
    from unnest(
        $38::text[], $39::json[], $40::text[], $41::integer[], $42::integer[], $43::timestamptz[],
        $44::timestamptz[], $45::json[], $46::bigint[], $47::bigint[], $48::bigint[], $49::bigint[],
        $50::timestamptz[], $51::timestamptz[], $52::timestamptz[], $53::bigint[]
    ) as s (
        task_id, schedule, base_status, in_flight, version, next_run_time, last_run_time, last_execution, run_count,
        success_count, failure_count, consecutive_failures, updated_at, deleted_at, seen_until, seq
    ) where t.task_id = s.task_id and exists (select from moved)
), executed as (
    insert into executions (
        execution_id, task_id, run, user_id, task_type, partition, status, trigger, attempt, recorded_at, seq,
        reason, trigger_data, config_overrides, scheduled_for, due_at, started_at, completed_at, duration_ms,
        result, result_truncated, error, credits_consumed, tokens_used, api_calls_made, executor, retry_of,
        dead_letter, into_run, revision, trace_id, attempts
    )
    select * from unnest(
        $54::text[], $55::text[], $56::text[], $57::text[], $58::text[], $59::integer[], $60::text[], $61::text[],
        $62::integer[], $63::timestamptz[], $64::bigint[], $65::text[], $66::json[], $67::json[],
        $68::timestamptz[], $69::timestamptz[], $70::timestamptz[], $71::timestamptz[], $72::bigint[], $73::json[],
        $74::boolean[], $75::json[], $76::double precision[], $77::bigint[], $78::bigint[], $79::text[],
        $80::text[], $81::text[], $82::text[], $83::integer[], $84::text[], $85::json[]
    ) where exists (select from moved)
    on conflict (execution_id) do update set
        user_id = excluded.user_id, task_type = excluded.task_type, status = excluded.status, trigger =
        excluded.trigger, attempt = excluded.attempt, seq = excluded.seq, reason = excluded.reason, trigger_data =
        excluded.trigger_data, config_overrides = excluded.config_overrides, scheduled_for = excluded.scheduled_for,
        due_at = excluded.due_at, started_at = excluded.started_at, completed_at = excluded.completed_at,
        duration_ms = excluded.duration_ms, result = excluded.result, result_truncated = excluded.result_truncated,
        error = excluded.error, credits_consumed = excluded.credits_consumed, tokens_used = excluded.tokens_used,
        api_calls_made = excluded.api_calls_made, executor = excluded.executor, retry_of = excluded.retry_of,
        dead_letter = excluded.dead_letter, into_run = excluded.into_run, revision = excluded.revision, trace_id =
        excluded.trace_id, attempts = excluded.attempts
), passed as (
    insert into slot_spans (seq, task_id, user_id, outcome, reason, revision, from_at, to_at, slots, into_run, occurred_at)
    select * from unnest(
        $86::bigint[], $87::text[], $88::text[], $89::text[], $90::text[], $91::integer[], $92::timestamptz[],
        $93::timestamptz[], $94::bigint[], $95::text[], $96::timestamptz[]
    ) where exists (select from moved)
), remembered as (
    insert into task_history (seq, task_id, version, what, at, user_id, command_id, trace_id, changes)
    select * from unnest(
        $97::bigint[], $98::text[], $99::integer[], $100::text[], $101::timestamptz[], $102::text[], $103::text[],
        $104::text[], $105::json[]
    ) where exists (select from moved)
), marked as (
    insert into slot_marks (seq, task_id, at, state, revision, schedule)
    select * from unnest(
        $115::bigint[], $116::text[], $117::timestamptz[], $118::text[], $119::integer[], $120::json[]
    ) where exists (select from moved)
), doubled as (
    insert into second_endings (seq, task_id, execution_id, outcome, occurred_at)
    select * from unnest(
        $121::bigint[], $122::text[], $123::text[], $124::text[], $125::timestamptz[]
    ) where exists (select from moved)
), limited as (
    insert into pools (pool, max_in_flight, paused, version, updated_at, changed_by, seq)
    select * from unnest(
        $126::text[], $127::integer[], $128::boolean[], $129::integer[], $130::timestamptz[], $131::text[],
        $132::bigint[]
    ) where exists (select from moved)
    on conflict (pool) do update set
        max_in_flight = excluded.max_in_flight, paused = excluded.paused, version = excluded.version,
        updated_at = excluded.updated_at, changed_by = excluded.changed_by, seq = excluded.seq
), answered as (
    insert into commands (command_id, task_id, user_id, execution_id, status, event, problem, decided_at, seq)
    select * from unnest(
        $106::text[], $107::text[], $108::text[], $109::text[], $110::text[], $111::text[], $112::json[],
        $113::timestamptz[], $114::bigint[]
    ) where exists (select from moved)
    on conflict (command_id) do nothing
)
select sequence from moved;

-- name: write_pool
-- What is set of a pool, as part of a large batch.
insert into pools (pool, max_in_flight, paused, version, updated_at, changed_by, seq)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (pool) do update set
    max_in_flight = excluded.max_in_flight, paused = excluded.paused, version = excluded.version,
    updated_at = excluded.updated_at, changed_by = excluded.changed_by, seq = excluded.seq;

-- name: read_archive
-- Archived events in order, up to and including a sequence.
select seq, stored_at, subject, headers, payload from event_archive where seq > $1 and seq <= $2 order by seq limit $3;

-- name: archive_day
-- Whether the archive has a partition for a day.
select to_regclass($1) is not null;
