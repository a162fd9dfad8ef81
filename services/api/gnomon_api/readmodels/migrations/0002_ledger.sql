-- What the audit reckons from. Of tasks that are there already only what is in force now is known: they are audited from
-- here on; a rebuild from the archive knows the whole past.
-- When which schedule of a task was in force: what the audit reckons its slots from. The order is that of `seq`.
create table slot_marks (
    seq      bigint primary key,
    task_id  text        not null,
    at       timestamptz not null,
    state    text        not null check (state in ('active', 'paused', 'over')),
    revision integer,     -- null, with the schedule: as the mark before it says
    schedule json
);
create index slot_marks_by_task on slot_marks (task_id, seq);

-- Outcomes on chains that had one already. There should be none; the audit tells.
create table second_endings (
    seq          bigint primary key,
    task_id      text        not null,
    execution_id text        not null,
    outcome      text        not null,
    occurred_at  timestamptz not null
);
create index second_endings_by_task on second_endings (task_id);
create index executions_by_slot on executions (task_id, scheduled_for) where trigger = 'schedule';

insert into slot_marks (seq, task_id, at, state, revision, schedule)
select seq, task_id, now(),
       case when deleted_at is not null or base_status in ('completed', 'failed', 'cancelled') then 'over'
            when base_status = 'paused' then 'paused' else 'active' end,
       (task ->> 'revision')::integer, schedule
from tasks where schedule is not null;
