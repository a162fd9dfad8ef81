-- name: pools_set
-- All pools of which something is set.
select pool, max_in_flight, paused, version, updated_at from pools order by pool;

-- name: pools_waiting
-- How many executions of each pool are queued. A pool comes from the task, or from its type as the task was changed last;
-- of a JSON text that has the character 0 somewhere Postgres takes no member.
select coalesce(
           case when position('\u0000' in task::text) = 0 then task -> 'resolved' ->> 'pool' end, 'default'
       ) as pool, count(*) as waiting
from executions join tasks using (task_id)
where executions.completed_at is null and executions.status = 'queued'
group by 1;
