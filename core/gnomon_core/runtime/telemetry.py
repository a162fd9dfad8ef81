"""Everything that can be read in the logs, in one list. Metrics have theirs in `metrics`."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["LogEvent"]


class LogEvent(StrEnum):
    """Names of log events: stable, so that alerts and searches can rest on them.

    The text under a name says when it is logged and which fields it carries.
    """

    PROCESS_READY = "process.ready"
    """All services of the process are up. process, services, seconds."""
    PROCESS_STOPPING = "process.stopping"
    """The process begins to stop. process, why."""
    PROCESS_STOPPED = "process.stopped"
    """The process has stopped. process, seconds."""
    SERVICE_FAILED = "service.failed"
    """A service failed, which ends the process unless it is to be restarted. service, error."""
    SERVICE_RESTARTED = "service.restarted"
    """A service that may be restarted was. service, attempt."""
    SERVICE_STOP_FAILED = "service.stop_failed"
    """Stopping a service raised; the others are stopped all the same. service, error."""
    SERVICE_CUT_OFF = "service.cut_off"
    """A service did not finish within the grace and was cancelled. service, tasks."""
    TASK_CRASHED = "task.crashed"
    """A loop of a service raised. task, error."""
    LOOP_BLOCKED = "loop.blocked"
    """The event loop was held up. seconds."""

    NATS_CONNECTED = "nats.connected"
    """First connection made. server, url."""
    NATS_LOST = "nats.lost"
    """The connection broke; reconnecting for ever. name."""
    NATS_BACK = "nats.back"
    """Connected again. server, generation, outage_seconds."""
    NATS_ERROR = "nats.error"
    """The client reported an error, as each failed attempt to reconnect does. error."""
    NATS_HANDLER_FAILED = "nats.handler_failed"
    """A handler of a core subscription raised; the message is dropped. subject, error."""

    TOPOLOGY_WAITING = "topology.waiting"
    """JetStream cannot create or update a stream yet. stream, reason."""
    TOPOLOGY_CHANGED = "topology.changed"
    """A stream or bucket was created or updated. stream, action, fields."""

    FOLLOWER_RESTARTED = "follower.restarted"
    """A follower makes its consumer anew. follower, stream, position, reason."""

    LEASE_GAINED = "lease.gained"
    """This process holds a lease now. lease, epoch, how (free | expired | suspected), after."""
    LEASE_LOST = "lease.lost"
    """This process holds a lease no more. lease, epoch, why (released | taken | expired | clock)."""
    LEASE_SUSPECTED = "lease.suspected"
    """The holder of a lease does not answer its ping. lease, owner, epoch."""

    CLOCK_OFF = "clock.off"
    """The own clock disagrees with the broker's by more than 2 s. offset_ms."""
    CLOCK_RIGHT = "clock.right"
    """The own clock agrees with the broker's again."""

    MEMBER_SEEN = "member.seen"
    """Another process appeared. kind, id, host, pid."""
    MEMBER_GONE = "member.gone"
    """Another process left or fell silent. kind, id."""
