-- Slots that were to start and did not count against the share of those that start on time.
alter table platform_hours add column missed bigint not null default 0;
insert into platform_hours (hour, starts, on_time, created, created_from_template, create_refused, active_tasks, missed)
select date_trunc('hour', at, 'UTC'), 0, 0, 0, 0, 0, 0, sum(slots)
from (
    select occurred_at as at, slots from slot_spans
    where outcome = 'missed' or outcome = 'coalesced' and reason like 'catch\_up\_%'
    union all
    select completed_at, 1 from executions
    where trigger = 'schedule' and started_at is null
      and (status = 'missed' or status = 'coalesced' and reason like 'catch\_up\_%')
) as told
group by 1
on conflict (hour) do update set missed = platform_hours.missed + excluded.missed;
