"""Everything that can be observed, in one list each: log events here, metrics in `metrics`."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["LogEvent"]


class LogEvent(StrEnum):
    """Names of log events: stable, so that alerts and searches can rest on them. The comment names the
    fields."""

    NATS_CONNECTED = "nats.connected"
    """First connection made. server, url."""
    NATS_LOST = "nats.lost"
    """The connection broke; reconnecting for ever. name."""
    NATS_BACK = "nats.back"
    """Connected again. server, url, generation, outage_seconds."""
    NATS_CLOSED = "nats.closed"
    """The connection was closed for good. name."""
    NATS_ERROR = "nats.error"
    """The client reported an error, as each failed attempt to reconnect does. error."""
    NATS_HANDLER_FAILED = "nats.handler_failed"
    """A handler of a core subscription raised; the message is dropped. subject, error."""
    FOLLOWER_RESTARTED = "follower.restarted"
    """A follower makes its consumer anew. follower, stream, position, reason."""
