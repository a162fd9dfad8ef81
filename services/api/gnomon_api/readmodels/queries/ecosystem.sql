-- name: wants_calendar_reminders
-- Whether a user's account asks for a reminder of each calendar entry.
select calendar_reminders from accounts where user_id = $1;

-- name: set_aside
-- A message that cannot be acted on; set aside again it has its newest reason.
insert into ecosystem_poison (poison_id, name, subject, stored_at, payload, headers, reason)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (poison_id) do update set reason = excluded.reason, set_aside_at = now();

-- name: poison
-- What was set aside, newest first; of each payload the beginning, since many of them are one answer.
select poison_id, name, subject, stored_at, substr(payload, 1, 4096) as payload, headers, reason, set_aside_at from ecosystem_poison
order by set_aside_at desc, poison_id limit $1;

-- name: one_poison
-- One message that was set aside.
select poison_id, name, subject, stored_at, payload, headers, reason, set_aside_at from ecosystem_poison
where poison_id = $1;

-- name: drop_poison
-- It is dealt with.
delete from ecosystem_poison where poison_id = $1 returning poison_id;
