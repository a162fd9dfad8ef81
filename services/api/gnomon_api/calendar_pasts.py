"""By which rules of zones and holidays the shards made their slots, now and before: read from their registers.

This process's own calendar may be another than the schedulers', while a deploy is under way; so what is in force there
counts, too, not only what is past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import structlog

from gnomon_core.ledger import ENDLESS_MS, InForce, Pasts
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.timing import keep, own_rules, same_rules
from gnomon_schemas.codec import decode
from gnomon_schemas.subjects import EVENTS_STREAM, calendar_register

__all__ = ["read_past", "read_pasts"]

_log = structlog.get_logger(__name__)


class _Rules(msgspec.Struct, frozen=True):
    rules: bytes
    until_ms: int | None = None


class _Register(msgspec.Struct, frozen=True):
    name: str
    kept: tuple[_Rules, ...]
    past: tuple[_Rules, ...] = ()


async def read_pasts(bus: Bus, partitions: int, year: int) -> list[Pasts]:
    """By partition, the parts of the calendar whose rules are, or were, others than this process's own.

    `year`: the present one. Raises BusError.
    """
    return await asyncio.gather(*(read_past(bus, partition, year) for partition in range(partitions)))


async def read_past(bus: Bus, partition: int, year: int) -> Pasts:
    """The same of one partition."""
    stored = await bus.multi_last(EVENTS_STREAM, [calendar_register(partition, "*")])
    # Beside the loop: of holidays the own ones are asked for, and their library takes a second to come.
    return await asyncio.to_thread(_pasts_of, stored, year) if stored else {}


def _pasts_of(registers: Sequence[Stored], year: int) -> Pasts:
    pasts: dict[str, list[InForce]] = {}
    for stored in registers:
        try:
            register = decode(stored.data, _Register)
            rules = (*register.past, *register.kept)
            own = own_rules(register.name, year, register.kept[0].rules)
            if len(rules) > 1 or not same_rules(register.name, rules[0].rules, own):
                pasts[register.name] = [
                    InForce(one.until_ms or ENDLESS_MS, keep(register.name, one.rules)) for one in rules
                ]
        except (msgspec.DecodeError, ValueError) as error:
            # The shard's leader goes by its own rules then, and so does the audit.
            _log.error(LogEvent.CALENDAR_UNREADABLE, subject=stored.subject, error=str(error))
    return pasts
