"""What stands outside of the processes and belongs to none of them: streams, queues, who is there, how far the read
models are. Every api process looks every five seconds; of several that say the same, dashboards take the highest.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from gnomon_api.projection import Projection
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.membership import MemberWatch
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_schemas.subjects import DUE_STREAM, EVENTS_FILTER, EVENTS_STREAM, PRIORITIES, STREAMS

__all__ = ["ClusterGauges"]

_CONSUMER: Final = "exec_"
_KINDS: Final = ("scheduler", "executor")


class ClusterGauges:
    """Sets the gauges; `look` is a probe."""

    def __init__(
        self, bus: NatsBus, members: MemberWatch, projection: Projection, clock: Clock, meter: Meter
    ) -> None:
        self._bus, self._members, self._projection = bus, members, projection
        self._clock, self._meter = clock, meter
        self._pools: set[tuple[str, str]] = set()

    async def look(self) -> None:
        """Look once. Raises BusError."""
        for kind in _KINDS:
            self._meter.set(Metric.MEMBERS, len(self._members.of_kind(kind)), kind=kind)
        if not self._bus.connected:
            return
        for stream in STREAMS:
            state = (await self._bus.api(f"STREAM.INFO.{stream}"))["state"]
            self._meter.set(Metric.STREAM_MESSAGES, state["messages"], stream=stream)
            self._meter.set(Metric.STREAM_BYTES, state["bytes"], stream=stream)
        await self._look_at_pools()
        await self._look_at_projector()

    async def _look_at_pools(self) -> None:
        """Pending work also of pools that no executor serves any more: that is when it matters."""
        found: set[tuple[str, str]] = set()
        for info in await self._consumers():
            pool, _, priority = info["name"].removeprefix(_CONSUMER).rpartition("_")
            if not info["name"].startswith(_CONSUMER) or priority not in PRIORITIES:
                continue
            found.add((pool, priority))
            self._meter.set(Metric.POOL_PENDING, info["num_pending"], pool=pool, priority=priority)
            self._meter.set(Metric.POOL_IN_FLIGHT, info["num_ack_pending"], pool=pool, priority=priority)
        for pool, priority in self._pools - found:
            self._meter.set(Metric.POOL_PENDING, 0, pool=pool, priority=priority)
            self._meter.set(Metric.POOL_IN_FLIGHT, 0, pool=pool, priority=priority)
        self._pools = found

    async def _consumers(self) -> list[dict[str, Any]]:
        consumers: list[dict[str, Any]] = []
        while True:
            page = await self._bus.api(f"CONSUMER.LIST.{DUE_STREAM}", {"offset": len(consumers)})
            consumers += page.get("consumers") or []
            if not page.get("consumers") or len(consumers) >= page["total"]:
                return consumers

    async def _look_at_projector(self) -> None:
        position = self._projection.sequence
        newest = await self._bus.last(EVENTS_STREAM, EVENTS_FILTER)
        behind = 0 if newest is None else max(0, newest.seq - position)
        seconds = 0.0
        if behind:
            # From the leader, which answered with the newest one: there is a next one.
            request = {"seq": position + 1, "next_by_subj": EVENTS_FILTER}
            found = await self._bus.api(f"STREAM.MSG.GET.{EVENTS_STREAM}", request)
            stored = datetime.fromisoformat(found["message"]["time"][:19]).replace(tzinfo=UTC)
            seconds = max(0.0, self._clock.now_ms() / 1000 - stored.timestamp())
        self._meter.set(Metric.PROJECTOR_LAG, behind)
        self._meter.set(Metric.PROJECTOR_LAG_SECONDS, seconds)
