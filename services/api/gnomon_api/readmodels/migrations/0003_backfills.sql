-- How far a backfill is, is counted from its executions: every task that shows one asks for them.
create index executions_of_backfills on executions (task_id, run) where trigger = 'backfill';
