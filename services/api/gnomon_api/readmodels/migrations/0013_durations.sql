-- Mean duration per task: of what is there, the sum of the executions since the task was made.
alter table tasks add column duration_sum_ms bigint not null default 0;
update tasks t set duration_sum_ms = ran.total
from (
    select e.task_id, sum(e.duration_ms) as total
    from executions e join tasks using (task_id)
    where e.status in ('completed', 'failed', 'timed_out', 'cancelled') and e.completed_at >= tasks.created_at
    group by e.task_id
) as ran
where t.task_id = ran.task_id and ran.total > 0;
