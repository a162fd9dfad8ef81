-- Every change of a task's status, and why.
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
