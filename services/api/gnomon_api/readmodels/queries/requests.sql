-- name: claim_request
-- Keep the body that belongs to an Idempotency-Key, or tell the one kept; a key older than a day begins anew.
insert into requests (request_id, user_id, task_id, body_hash) values ($1, $2, $3, $4)
on conflict (request_id) do update set
    generation = requests.generation + (requests.asked_at < now() - interval '24 hours')::integer,
    task_id = case when requests.asked_at < now() - interval '24 hours' then excluded.task_id
                   else requests.task_id end,
    body_hash = case when requests.asked_at < now() - interval '24 hours' then excluded.body_hash
                     else coalesce(requests.body_hash, excluded.body_hash) end,
    asked_at = case when requests.asked_at < now() - interval '24 hours' then now() else requests.asked_at end
returning generation, body_hash;

-- name: remember_command
-- Keep that a command was sent, for whoever asks after it before it is decided.
insert into requests (request_id, user_id, task_id) values ($1, $2, $3)
on conflict (request_id) do nothing;

-- name: forget_requests
-- Keys of requests that nobody repeats any more.
delete from requests where asked_at < now() - interval '30 days';

-- name: pending_command
-- A command that was sent, decided or not.
select request_id as command_id, user_id, task_id, asked_at from requests where request_id = $1;

-- name: command_by_id
-- What became of a command.
select command_id, task_id, user_id, execution_id, status, event, problem, decided_at, seq
from commands where command_id = $1;
