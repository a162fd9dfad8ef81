-- name: calendar_columns
-- What a calendar of blackouts is shown from; the beginning of every statement that reads calendars.
select calendar_id, name, action, enabled, calendar, version, created_at, updated_at, deleted_at from calendars;

-- name: calendar_by_id
-- One calendar, deleted or not.
where calendar_id = $1;

-- name: calendars_present
-- Lists show calendars that have not been deleted.
deleted_at is null;

-- name: calendars_enabled
-- Those that touch slots now.
where deleted_at is null and enabled;

-- name: calendars_with_enabled
-- Enabled ones, or the others.
enabled = $1::boolean;

-- name: calendars_with_action
-- What becomes of a slot inside.
action = any($1::text[]);

-- name: calendars_with_tag
-- Whose selector names at least one of these tags.
tags ?| $1::text[];

-- name: calendars_with_q
-- Text in name or description, in any case.
(name ilike $1 or description ilike $1);
