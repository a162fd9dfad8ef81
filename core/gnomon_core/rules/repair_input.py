"""What the auditor sends of a repair: nominal times of slots of which it found nothing recorded."""

from __future__ import annotations

from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_core.rules.json_schema import pointer
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.commands import RepairTask
from gnomon_schemas.limits import REPAIR_SLOTS_MAX
from gnomon_schemas.problems import FieldError

__all__ = ["parse_repair"]


def parse_repair(data: bytes) -> list[int]:
    """The slots that a `repair` lists, in seconds since 1970, in its order. Raises Refused with every error."""
    payload = parse_body(data, RepairTask)
    slots: list[int] = []
    errors: list[FieldError] = []
    if not 1 <= len(payload.slots) <= REPAIR_SLOTS_MAX:
        errors += wrong("#/slots", f"has {len(payload.slots):,} slots; allowed: 1 to {REPAIR_SLOTS_MAX}")
    for index, text in enumerate(payload.slots[:REPAIR_SLOTS_MAX]):
        at = pointer("#/slots", [index])
        try:
            at_ms = instant_ms(text)
        except ValueError as error:
            errors += wrong(at, str(error))
            continue
        if at_ms % 1000:
            errors += wrong(at, f"is {text}, which is not a whole second: no slot is there")
        slots.append(at_ms // 1000)
    refuse(errors)
    return slots
