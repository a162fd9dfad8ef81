-- Accounts that are closed: their users make and run nothing.
alter table accounts add column closed boolean not null default false;
alter table accounts add column closed_note text;
