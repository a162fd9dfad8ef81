-- name: account_of_user
-- One account with its balance; of a user without account, none.
select a.user_id, a.account_id, a.tier, a.limits, a.calendar_reminders, a.credited, a.closed,
       a.closed_note, a.version, a.created_at, a.updated_at,
       coalesce(b.balance, 0) as balance, coalesce(b.consumed, 0) as consumed
from accounts a left join credit_balances b using (user_id) where a.user_id = $1;

-- name: accounts_after
-- Accounts in the order of their users.
select a.user_id, a.account_id, a.tier, a.limits, a.calendar_reminders, a.credited, a.closed,
       a.closed_note, a.version, a.created_at, a.updated_at,
       coalesce(b.balance, 0) as balance, coalesce(b.consumed, 0) as consumed
from accounts a left join credit_balances b using (user_id)
where a.user_id > $1 order by a.user_id limit $2;

-- name: credit_entries_of_user
-- The entries in a user's book, the newest first, up to an entry.
select seq, leg, at, amount, kind, execution_id, command_id, note, reference from credit_entries
where user_id = $1 and book = 'user' and (seq, leg) < ($2, $3) order by seq desc, leg desc limit $4;

-- name: number_of_unended_tasks
-- How many tasks of a user have neither ended nor been deleted.
select count(*) as number from tasks
where user_id = $1 and deleted_at is null and base_status not in ('completed', 'failed', 'cancelled');
