"""Names of the message headers that Gnomon writes and reads."""

from __future__ import annotations

from typing import Final

MSG_ID: Final = "Nats-Msg-Id"
"""On a command: the command id. On a chain only `<instance>:<random>`, which no two processes share."""
EXPECTED_SEQ: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
ROLLUP: Final = "Nats-Rollup"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"
TTL: Final = "Nats-TTL"
MARKER_REASON: Final = "Nats-Marker-Reason"
"""On what the server stores when a key's TTL ran out."""
REPUBLISHED_SUBJECT: Final = "Nats-Subject"
REPUBLISHED_SEQUENCE: Final = "Nats-Sequence"
REPUBLISHED_TIME: Final = "Nats-Time-Stamp"

USER: Final = "Gnomon-User"
"""The acting user of a command."""
ROLES: Final = "Gnomon-Roles"
"""Comma-separated roles of the acting user; `admin` may act on every user's tasks."""
IF_MATCH: Final = "Gnomon-If-Match"
"""The version the caller last saw, as digits with or without quotes."""
REPLY_TO: Final = "Gnomon-Reply-To"
"""Where to send the outcome; honoured only under `_INBOX.`."""
GATE: Final = "Gnomon-Gate"
"""On a due: the gate of the concurrency key that its attempt holds a unit of."""
TRACEPARENT: Final = "traceparent"
"""W3C Trace Context."""

CE_TYPE: Final = "ce-type"
CE_ID: Final = "ce-id"
CE_SOURCE: Final = "ce-source"
CE_TIME: Final = "ce-time"
CE_SUBJECT: Final = "ce-subject"
CE_SPECVERSION: Final = "ce-specversion"
CE_CONTENT_TYPE: Final = "ce-datacontenttype"

REPLY_PREFIX: Final = "_INBOX."
ADMIN_ROLE: Final = "admin"
