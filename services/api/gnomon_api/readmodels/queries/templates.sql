-- name: template_columns
-- What a template is shown from; the beginning of every statement that reads templates.
select template_id, name, category, level, is_active, template, version, created_at, updated_at, deleted_at
from templates;

-- name: template_by_id
-- One template, deleted or not.
where template_id = $1;

-- name: templates_present
-- Lists show templates that have not been deleted.
deleted_at is null;

-- name: templates_with_is_active
-- Active ones, or all.
(is_active or not $1::boolean);

-- name: templates_up_to_level
-- Open to a subscription level, by its rank.
level <= $1::integer;

-- name: templates_with_category
-- Categories.
category = any($1::text[]);

-- name: templates_with_task_type
-- Task types.
task_type = any($1::text[]);

-- name: templates_with_tag
-- At least one of these tags.
tags ?| $1::text[];

-- name: templates_with_q
-- Text in name, description or a tag, in any case.
(name ilike $1 or description ilike $1 or tags::text ilike $1);

-- name: object_changes
-- The changes of a template, calendar or account since it was made, the newest first, up to a sequence.
select seq, what, version, at, user_id, command_id, trace_id, changes from object_history
where kind = $1 and object_id = $2 and seq < $3
  and seq >= coalesce((select max(seq) from object_history where kind = $1 and object_id = $2 and what = 'created'), 0)
order by seq desc limit $4;

-- name: tasks_to_check
-- Tasks of a type that may still run, of one owner or of all, after a place in the order of their creation.
select task_id, user_id, name, status, task, created_at from tasks
where task_type = $1 and deleted_at is null and base_status in ('pending', 'scheduled', 'paused')
  and ($2::text is null or user_id = $2) and (created_at, task_id) > ($3::timestamptz, $4)
order by created_at, task_id limit $5;
