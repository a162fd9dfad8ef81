-- A report counts the deleted tasks of its user, too: without this it went through all tasks there are.
create index tasks_deleted_by_user on tasks (user_id) where deleted_at is not null;
