-- name: pools_set
-- All pools of which something is set.
select pool, max_in_flight, paused, version, updated_at from pools order by pool;
