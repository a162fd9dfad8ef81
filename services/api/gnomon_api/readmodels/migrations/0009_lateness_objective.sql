-- Since when the lateness objective of a task is broken; null: it is not, or there is none.
alter table tasks add column slo_broken_since timestamptz;
