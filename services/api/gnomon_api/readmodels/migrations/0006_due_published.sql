-- When the due of an execution's first attempt was stored: what was late before is the scheduler's, after it the queue's.
alter table executions add column due_published_at timestamptz;
