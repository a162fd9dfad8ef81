"""What `difference` says, against looking at every slot: no slot of a schedule moves without being told."""

from __future__ import annotations

from itertools import islice

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gnomon_core.timing import KeptNames, as_of, difference, fires, keep, names_of, own_rules, same_rules
from gnomon_core.timing.calendars import COUNTED_MAX
from gnomon_schemas.schedules import Schedule
from tests.harness.zone_rules import made_rules
from tests.property.timing_strategies import is_accepted, schedules

DAY = 86_400
START = 20_600 * DAY
SPAN = 200 * DAY
SLOTS_MAX = 5000
RULES = [
    made_rules(words)
    for words in (
        "UTC0",
        "EET-2",
        "<+0230>-2:30",
        "EST5EDT,M3.2.0,M11.1.0",
        "EST5EDT,M4.1.0,M10.5.0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1",
        "EET-2EEST,M3.5.0/0,M10.5.0/0",
    )
]
laws = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])


@st.composite
def changes(draw: st.DrawFn) -> tuple[Schedule, KeptNames]:
    """A schedule, and rules for some of what it depends on: other zones' rules, other places' holidays."""
    schedule = draw(schedules().filter(is_accepted))
    kept = []
    for name in sorted(names_of(schedule)):
        if name.startswith("zone-"):
            kept.append((name, keep(name, draw(st.sampled_from(RULES)))))
        elif draw(st.booleans()):
            place = draw(st.sampled_from(["DE", "DE-BY", "FR", "US"]))
            kept.append((name, keep(name, own_rules(f"holidays-{place}", 2026))))
    assume(kept)
    return schedule, tuple(kept)


@laws
@given(changes())
def test_the_first_slot_that_differs_is_found(change: tuple[Schedule, KeptNames]) -> None:
    schedule, kept = change
    old = list(islice(fires(as_of(schedule, kept), START, START + SPAN), SLOTS_MAX))
    new = list(islice(fires(schedule, START, START + SPAN), SLOTS_MAX))
    # Of a dense schedule only as far as both lists go.
    until = min([START + SPAN, *(slots[-1] for slots in (old, new) if len(slots) == SLOTS_MAX)])
    differing = sorted(slot for slot in set(old) ^ set(new) if slot <= until)
    found = difference(schedule, kept, START, START)
    if not differing:
        assert found is None or found.first is None or found.first > until
        return
    assert found is not None
    assert found.first == differing[0]
    if found.appeared + found.disappeared < COUNTED_MAX:
        assert found.appeared + found.disappeared >= len(differing)


@laws
@given(schedules().filter(is_accepted))
def test_what_a_schedule_depends_on_is_all_that_it_depends_on(schedule: Schedule) -> None:
    """Under its own rules, kept, it has the slots that it has; and the rules are those that were kept."""
    names = names_of(schedule)
    kept = tuple((name, keep(name, own_rules(name, 2026))) for name in sorted(names))
    assert all(same_rules(name, own_rules(name, 2026), own_rules(name, 2027)) for name in names)
    before = as_of(schedule, kept)
    assert list(islice(fires(before, START, START + SPAN), 300)) == list(
        islice(fires(schedule, START, START + SPAN), 300)
    )
    assert difference(schedule, kept, START, START) is None
