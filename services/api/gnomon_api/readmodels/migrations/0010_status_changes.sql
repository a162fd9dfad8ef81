-- Every change of a task's status, and why; those of before come from the archive.
create table status_changes (
    seq         bigint primary key,
    task_id     text        not null,
    command_id  text,              -- null: the task changed of its own accord
    old_status  text        not null,
    new_status  text        not null,
    reason      text        not null,
    changed_at  timestamptz not null,
    -- `gnomon_schemas.lifecycle`, which a test compares: an event that tells of another change is set aside.
    constraint status_changes_of_the_lifecycle check ((old_status, new_status) in (
        ('pending', 'scheduled'), ('scheduled', 'pending'), ('pending', 'paused'), ('scheduled', 'paused'),
        ('paused', 'pending'), ('paused', 'scheduled'), ('pending', 'completed'), ('scheduled', 'completed'),
        ('paused', 'completed'), ('failed', 'completed'), ('scheduled', 'failed'), ('completed', 'pending'),
        ('completed', 'scheduled'), ('completed', 'paused'), ('failed', 'pending'), ('failed', 'scheduled'),
        ('failed', 'paused'), ('pending', 'cancelled'), ('scheduled', 'cancelled'), ('paused', 'cancelled'),
        ('completed', 'cancelled'), ('failed', 'cancelled')))
);
create index status_changes_by_task on status_changes (task_id, seq);

insert into status_changes (seq, task_id, command_id, old_status, new_status, reason, changed_at)
select seq, told ->> 'task_id', told ->> 'command_id', told ->> 'old_status', told ->> 'new_status', told ->> 'reason',
       (told ->> 'changed_at')::timestamptz
from (select seq, convert_from(payload, 'UTF8')::json as told from event_archive
      where subject like 'task.status\_changed.%' and position('\u0000' in convert_from(payload, 'UTF8')) = 0) as archived
where (told ->> 'old_status', told ->> 'new_status') in (
        ('pending', 'scheduled'), ('scheduled', 'pending'), ('pending', 'paused'), ('scheduled', 'paused'),
        ('paused', 'pending'), ('paused', 'scheduled'), ('pending', 'completed'), ('scheduled', 'completed'),
        ('paused', 'completed'), ('failed', 'completed'), ('scheduled', 'failed'), ('completed', 'pending'),
        ('completed', 'scheduled'), ('completed', 'paused'), ('failed', 'pending'), ('failed', 'scheduled'),
        ('failed', 'paused'), ('pending', 'cancelled'), ('scheduled', 'cancelled'), ('paused', 'cancelled'),
        ('completed', 'cancelled'), ('failed', 'cancelled'));
