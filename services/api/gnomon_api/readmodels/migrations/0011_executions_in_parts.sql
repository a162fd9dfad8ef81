-- What is in flight stays small, what has ended is kept by month and can be dropped so.
alter table executions rename to executions_before;
drop index executions_by_recorded, executions_by_task, executions_by_user, executions_in_flight, executions_by_slot,
    executions_of_backfills;
create table executions (like executions_before including defaults including constraints) partition by range (completed_at);
create table executions_active partition of executions default with (fillfactor = 70);
create table executions_ended partition of executions for values from (minvalue) to (maxvalue)
    partition by range (completed_at);
do $$
declare
    month timestamptz;
begin
    for month in
        select distinct date_trunc('month', completed_at, 'UTC') from executions_before where completed_at is not null
    loop
        execute format(
            'create table %I partition of executions_ended for values from (%L) to (%L)',
            'executions_ended_' || to_char(month at time zone 'UTC', 'YYYYMM'), month,
            date_add(month, interval '1 month', 'UTC')
        );
    end loop;
end $$;
insert into executions select * from executions_before;
drop table executions_before;
create unique index executions_active_by_id on executions_active (execution_id);
create unique index executions_ended_by_id on executions_ended (execution_id, completed_at);
create index executions_by_recorded on executions (recorded_at, execution_id);
create index executions_by_task on executions (task_id, recorded_at, execution_id);
create index executions_by_user on executions (user_id, recorded_at, execution_id);
create index executions_by_slot on executions (task_id, scheduled_for) where trigger = 'schedule';
create index executions_of_backfills on executions (task_id, run) where trigger = 'backfill';
