"""Sizes and counts that every process agrees on. Bytes unless the name says otherwise."""

from __future__ import annotations

import re

__all__ = [
    "ATTEMPTS_MAX",
    "BACKFILLS_PER_TASK",
    "BACKFILL_CONCURRENCY_MAX",
    "BACKFILL_SLOTS_MAX",
    "BACKFILL_TOTAL_MAX",
    "CALENDAR_MAX",
    "CALENDAR_RECURRING_MAX",
    "CALENDAR_SPANS_MAX",
    "CATCH_UP_LIMIT_MAX",
    "CATEGORY_MAX_CHARS",
    "COMMAND_MAX",
    "CONFIG_MAX",
    "DESCRIPTION_MAX_CHARS",
    "DURATION_MAX_SECONDS",
    "ENTRIES_PER_TASK",
    "ERROR_TEXT_MAX",
    "FACTOR_MAX",
    "FAILURES_MAX",
    "ID_PATTERN",
    "KEY_LIMIT_MAX",
    "KEY_MAX_CHARS",
    "LOG_BYTES_MAX",
    "LOG_LINES_MAX",
    "LOG_LINE_MAX",
    "MAX_PARTITIONS",
    "METADATA_MAX",
    "NAME_MAX_CHARS",
    "NOT_YET",
    "RATE_COUNT_MAX",
    "RECURRING_A_YEAR_MAX",
    "REFUSAL_TEXT_MAX_CHARS",
    "REPAIR_SLOTS_MAX",
    "RESERVED_IDS",
    "RESULT_MAX",
    "RUN_PATTERN",
    "SELECTED_MAX",
    "SPAN_MAX_SECONDS",
    "TAGS_MAX",
    "TAG_MAX_CHARS",
    "TEMPLATE_DEFAULTS_MAX",
    "TEMPLATE_FIELDS_MAX",
    "TEMPLATE_SCHEMA_MAX",
    "TRIGGER_DATA_MAX",
    "UNIQUE_RUNS",
    "URL_MAX_CHARS",
    "USER_ID_MAX_CHARS",
    "is_id",
    "is_run",
]

CONFIG_MAX = 256 * 1024
"""Largest `config` of a task, as JSON."""
TRIGGER_DATA_MAX = 256 * 1024
"""Largest `trigger_data` of one run, as JSON; the config overrides of a run have the same limit."""
RESULT_MAX = 256 * 1024
"""Largest result kept; a longer one is cut and marked."""
ERROR_TEXT_MAX = 16 * 1024
"""Longest error message or traceback kept; a longer one is cut and marked."""
LOG_LINES_MAX = 1000
"""Most lines kept of what one attempt logs; the last of them says that there were more."""
LOG_LINE_MAX = 8 * 1024
"""Longest message of a line, and longest details, as JSON; what is longer is cut and marked."""
LOG_BYTES_MAX = 256 * 1024
"""Most kept of what one attempt logs, messages and details together."""
REFUSAL_TEXT_MAX_CHARS = 2048
"""Longest text of the caller's that a refusal repeats, whatever was sent; a longer one is cut."""
COMMAND_MAX = 900 * 1024
"""Largest command payload."""
METADATA_MAX = 64 * 1024
"""Largest `metadata` of a task, as JSON."""
NAME_MAX_CHARS = 255
DESCRIPTION_MAX_CHARS = 4096
USER_ID_MAX_CHARS = 255
TAGS_MAX = 64
TAG_MAX_CHARS = 100
DURATION_MAX_SECONDS = 24 * 3600
"""Longest timeout and longest retry delay."""
SPAN_MAX_SECONDS = 366 * 24 * 3600
"""Longest `after_seconds`, `grace_seconds` and `expires_seconds`: a leader reckons this far back."""
ATTEMPTS_MAX = 100
"""Most attempts of one execution."""
FACTOR_MAX = 1000.0
"""Largest growth of a retry's delay from one attempt to the next."""
CATCH_UP_LIMIT_MAX = 1000
FAILURES_MAX = 1_000_000
"""Largest `max_consecutive_failures`."""
BACKFILL_SLOTS_MAX = 1000
"""Slots that one backfill may list by name. A span without a list has no such limit."""
BACKFILL_TOTAL_MAX = 100_000
"""Most slots of one backfill."""
URL_MAX_CHARS = 2048
"""Of an address that a task names."""
REPAIR_SLOTS_MAX = 200
"""Slots that one `repair` may list: each is an event of the batch that repairs them."""
BACKFILL_CONCURRENCY_MAX = 100
"""Most runs of one backfill that may be in flight at a time."""
BACKFILLS_PER_TASK = 10
"""Backfills of one task that may be under way at a time."""
ENTRIES_PER_TASK = 1000
"""Executions of one task that may wait at a time; a further one is `skipped(limit)`."""
KEY_MAX_CHARS = 255
"""Longest `concurrency_key`."""
KEY_LIMIT_MAX = 10_000
"""Largest `concurrency_limit`."""
RATE_COUNT_MAX = 1000
"""Largest `count` of a rate limit: the register of its gate holds the instant of every start that counts."""
UNIQUE_RUNS = 32
"""Of how many runs on demand a task remembers the input, the newest, to tell equal ones (`unique_for_seconds`)."""
CALENDAR_MAX = 384 * 1024
"""Largest calendar of blackouts, as JSON."""
CALENDAR_SPANS_MAX = 1000
"""Most single spans of a calendar."""
CALENDAR_RECURRING_MAX = 50
"""Most recurring spans of a calendar."""
RECURRING_A_YEAR_MAX = 36_600
"""Most spans within a year that one recurring span may make: a hundred a day."""
SELECTED_MAX = 1000
"""Most task types, and most users, that a calendar's selector may list."""
CATEGORY_MAX_CHARS = 64
"""Longest category of a template."""
TEMPLATE_FIELDS_MAX = 64
"""Most `required_fields`, and most `optional_fields`, of a template."""
TEMPLATE_SCHEMA_MAX = 64 * 1024
"""Largest `config_schema` of a template, as JSON."""
TEMPLATE_DEFAULTS_MAX = 64 * 1024
"""Largest `defaults` of a template, as JSON."""
MAX_PARTITIONS = 40
"""Each shard leader may hold one of the 50 atomic batches that a stream can have open."""

ID_PATTERN = r"^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}$"
"""Task ids, command ids, pools, task types: 1 to 64 characters, not beginning with `_`."""
RESERVED_IDS = frozenset({"analytics", "bulk"})
"""Words that stand where a task id would in a path, so no task may be called so."""

NOT_YET: dict[str, object] = {
    "notify": (),
}
"""Fields of a task that may hold nothing but this default for now: silently ignoring another value would promise what
nothing keeps."""

_ID_TAIL = ID_PATTERN.strip("^$")
_SLOT = r"\d{8}T\d{6}Z"
RUN_PATTERN = rf"^(?:{_SLOT}|r-{_ID_TAIL}|b-{_ID_TAIL}-{_SLOT})$"
"""The run of an execution: a slot's nominal time, `r-<command id>`, or `b-<command id>-<slot>`."""

_ID = re.compile(ID_PATTERN)
_RUN = re.compile(RUN_PATTERN, re.ASCII)


def is_id(text: str) -> bool:
    """Whether `text` may be an id: `ID_PATTERN`, whole string (a trailing newline is refused too)."""
    return _ID.fullmatch(text) is not None


def is_run(text: str) -> bool:
    """Whether `text` may be the run of an execution: `RUN_PATTERN`, whole string."""
    return _RUN.fullmatch(text) is not None
