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
    """This process holds a lease now. lease, epoch, how (free | expired | suspected | adopted)."""
    LEASE_LOST = "lease.lost"
    """This process holds a lease no more. lease, epoch, why (released | taken | expired | clock | failed)."""
    LEASE_SUSPECTED = "lease.suspected"
    """The holder of a lease does not answer its ping. lease, owner, epoch."""

    LEASE_WRITE_FAILED = "lease.write_failed"
    """A lease could not be written, or nobody knows whether it was. lease, error."""
    LEASE_START_FAILED = "lease.start_failed"
    """What a lease is for could not be begun; it is given up again. lease, error."""

    CLOCK_OFF = "clock.off"
    """The own clock disagrees with the broker's by more than 2 s. offset_ms."""
    CLOCK_RIGHT = "clock.right"
    """The own clock agrees with the broker's again."""

    MEMBER_SEEN = "member.seen"
    """Another process appeared. kind, id, host, pid."""
    MEMBER_GONE = "member.gone"
    """Another process left or fell silent. kind, id."""

    SHARD_LED = "shard.led"
    """This process leads a shard now. partition, epoch, tasks, seconds."""
    SHARD_RELEASED = "shard.released"
    """This process leads a shard no more, by its own will. partition, epoch."""
    SHARD_DEPOSED = "shard.deposed"
    """Another process leads the shard; found out by a refused write. partition, epoch, error."""
    REGISTER_UNREADABLE = "register.unreadable"
    """A register does not decode: its task is set aside, the shard goes on. subject, seq, error."""
    EVENT_UNREADABLE = "event.unreadable"
    """An event or due does not decode and is passed over. subject, seq, error."""
    INTAKE_STATUS = "intake.status"
    """The broker ended a pull for commands in an unusual way. consumer, status."""
    CHAIN_MOVED = "chain.moved"
    """An outcome was not stored since its chain had one already. subject, expected, last."""
    DUE_NOT_DELETED = "due.not_deleted"
    """A due that is over could not be deleted now; the sweep will. partition, seq."""
    SWEEP_ACTED = "sweep.acted"
    """The sweep found something to mend. partition, expired, republished, deleted."""
    JANITOR_PURGED = "janitor.purged"
    """Events below the floor were purged. floor, purged."""
    JANITOR_WAITS = "janitor.waits"
    """Nothing is purged, since a position is missing. missing."""
    TYPE_UNREADABLE = "type.unreadable"
    """An announced task type does not decode or its schema does not compile. type, error."""
