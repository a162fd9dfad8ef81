"""What a calendar of blackouts makes of a slot, in time and late."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.rules.calendar_input import parse_calendar
from gnomon_core.timing import Blackout, Blackouts, Touch, fires
from gnomon_scheduler.decisions.blackouts import decide_inside, touch_of
from gnomon_scheduler.decisions.catching_up import Backlog, catch_up
from gnomon_scheduler.decisions.departing import expired
from gnomon_scheduler.decisions.overlapping import in_the_way
from gnomon_scheduler.decisions.wishes import is_stronger
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.codec import encode
from gnomon_schemas.events import Coalesced, SlotOutcome
from tests.unit.scheduler.making import NOW_S, fly, memory_of, task_state


def calendar(calendar_id: str, action: str, *spans: tuple[int, int]) -> Blackout:
    """In force in spans of seconds after the tasks' making."""
    body = {
        "name": "n",
        "selector": {},
        "action": action,
        "spans": [
            {"from": format_instant((NOW_S + start) * 1000), "to": format_instant((NOW_S + end) * 1000)}
            for start, end in spans
        ],
    }
    return Blackout(calendar_id, parse_calendar(encode(body), now_ms=NOW_S * 1000, default_timezone="UTC"))


def slot_at(task: TaskState, seconds: int, jitter_ms: int = 0) -> Slot:
    return Slot(task, NOW_S + seconds, (NOW_S + seconds) * 1000 + jitter_ms)


def put_off(task: TaskState, seconds: int, until: int = 100) -> Flight:
    touch = Touch("c", BlackoutAction.DEFER, NOW_S + until)
    flight = decide_inside(slot_at(task, seconds), touch, (NOW_S + seconds) * 1000).flight
    assert flight is not None
    task.take_off(flight)
    return flight


def test_a_slot_is_skipped_and_says_by_whom() -> None:
    inside = decide_inside(slot_at(task_state(), 5), Touch("c", BlackoutAction.SKIP, NOW_S + 9), 0)
    assert (inside.flight, inside.reason, inside.instead_of) == (None, "blackout", ())
    assert "'c'" in inside.detail


@pytest.mark.parametrize(("overlap", "gated"), [("skip", True), ("queue", True), ("allow", False)])
def test_one_that_is_put_off_waits_in_nobodys_way_and_does_not_expire(overlap: str, gated: bool) -> None:
    task = task_state(overlap=overlap)
    touch = Touch("c", BlackoutAction.DEFER, NOW_S + 90)
    flight = decide_inside(slot_at(task, 5, jitter_ms=300), touch, 0).flight
    assert flight is not None
    task.take_off(flight)
    assert (flight.calendar_id, flight.gated, flight.put_off) == ("c", gated, True)
    assert (flight.scheduled_ms, flight.due_ms) == ((NOW_S + 5) * 1000, (NOW_S + 5) * 1000 + 300)
    assert flight.emit_ms == (NOW_S + 90) * 1000 + 300, "its jitter counts from the end"
    assert in_the_way(task) == []
    assert not expired(flight, (NOW_S + 10_000_000) * 1000)
    again = Flight.of_entry(flight.entry())
    assert (again.calendar_id, again.put_off, again.expires_ms) == ("c", True, None)


def test_so_many_are_put_off_as_the_catch_up_takes_and_the_next_is_skipped() -> None:
    task = task_state(catch_up={"limit": 2})
    fly(task, NOW_S + 1)
    put_off(task, 5)
    put_off(task, 6)
    inside = decide_inside(slot_at(task, 7), Touch("c", BlackoutAction.DEFER, NOW_S + 90), 0)
    assert (inside.flight, inside.reason) == (None, "limit")
    assert "catch_up.limit is 2" in inside.detail


def test_one_stands_for_all_that_are_put_off_and_not_handed_out() -> None:
    task = task_state(catch_up={"limit": 3})
    out, ended, waiting = put_off(task, 5), put_off(task, 6), put_off(task, 7)
    out.emitted = True
    task.wish(Cancelling(run=ended.run, reason="cancelled", deadline_ms=0))
    inside = decide_inside(slot_at(task, 8), Touch("d", BlackoutAction.FIRST_AFTER, NOW_S + 90), 4000)
    assert inside.flight is not None
    assert inside.instead_of == (
        Cancelling(
            run=waiting.run, reason="blackout", deadline_ms=4000, into=inside.flight.run, calendar_id="d"
        ),
    )


@pytest.mark.parametrize(
    ("reason", "present", "stronger"),
    [
        ("blackout", None, True),
        ("cancelled", "blackout", True),
        ("deleted", "blackout", True),
        ("paused", "blackout", False),
        ("blackout", "paused", False),
        ("blackout", "cancelled", False),
    ],
)
def test_a_wish_by_a_blackout_gives_way_to_a_callers(
    reason: str, present: str | None, stronger: bool
) -> None:
    wish = None if present is None else Cancelling(run="r", reason=present, deadline_ms=0)
    assert is_stronger(reason, wish) is stronger


def test_only_a_slot_inside_is_touched() -> None:
    blackouts = Blackouts([calendar("c", "defer", (10, 20))])
    task = task_state()
    found = [touch_of(blackouts, task, NOW_S + second) is not None for second in (9, 10, 19, 20)]
    assert found == [False, True, True, False]


def covered(task: TaskState, span: SlotOutcome) -> list[int]:
    schedule = task.reg.spec.schedule
    assert schedule is not None
    assert span.from_ is not None
    assert span.to is not None
    return list(fires(schedule, instant_ms(span.from_) // 1000 - 1, instant_ms(span.to) // 1000 - 1))


def told(task: TaskState, backlog: Backlog) -> dict[int, list[str]]:
    """What is said of each slot, by its nominal time after the task's making."""
    found: dict[int, list[str]] = {}
    for span in backlog.events:
        times = covered(task, span)
        assert len(times) == span.count > 0
        for nominal_s in times:
            found.setdefault(nominal_s - NOW_S, []).append(span.reason)
    for slots, word in ((backlog.runs, "runs"), (backlog.waiting, "in time")):
        for one in slots:
            found.setdefault(one.nominal_s - NOW_S, []).append(word)
    for one, touch in backlog.put_off:
        found.setdefault(one.nominal_s - NOW_S, []).append(f"waits for {touch.calendar_id}")
    return found


@pytest.mark.parametrize(
    ("calendars", "policy", "expected"),
    [
        # Slots each ten seconds up to 90; it is 100, and what is 15 seconds late is late: 10 to 80.
        ([], {}, "g g g g l l l r"),
        ([("s", "skip", (35, 65))], {}, "g g g s s s l r"),
        ([("s", "skip", (0, 500))], {}, "s s s s s s s s"),
        ([("d", "defer", (35, 500))], {}, "g g g d d d d d"),
        ([("d", "defer", (35, 500))], {"limit": 2}, "g g g x x x d d"),
        ([("f", "first_after", (35, 500))], {}, "g g g b b b b f"),
        # It was over less than fifteen seconds ago, so what waited for that is not late.
        ([("d", "defer", (5, 90))], {}, "d d d d d d d d"),
        # It was over long ago: late from its end, beyond grace from its end.
        ([("d", "defer", (5, 55))], {}, "l l l l l l l r"),
        ([("d", "defer", (5, 35))], {}, "g g g g l l l r"),
        ([("d", "defer", (5, 55))], {"policy": "skip"}, "k k k k k k k k"),
        ([("d", "defer", (5, 55))], {"policy": "all", "limit": 100}, "r r r r r r r r"),
        # Two at a time: skip has its way, and what was put off waits until both are over.
        ([("d", "defer", (35, 500)), ("s", "skip", (55, 700))], {}, "g g g d d s s s"),
        ([("d", "defer", (35, 500)), ("f", "first_after", (55, 700))], {}, "g g g d d b b f"),
    ],
)
def test_late_slots_in_a_blackout_get_what_its_calendar_says(
    calendars: list[Any], policy: dict[str, Any], expected: str
) -> None:
    words = {
        "g": "grace_exceeded",
        "l": "catch_up_latest",
        "r": "runs",
        "s": "blackout",
        "d": "waits for d",
        "x": "limit",
        "b": "blackout",
        "f": "waits for f",
        "k": "catch_up_skip",
    }
    task = task_state(
        schedule={"kind": "interval", "every_seconds": 10},
        catch_up={"policy": "latest", "after_seconds": 15, "grace_seconds": 55, **policy},
    )
    made = [calendar(name, action, *spans) for name, action, *spans in calendars]
    backlog = catch_up(slot_at(task, 10), (NOW_S + 100) * 1000, partition=0, handled=(), calendars=made)
    found = told(task, backlog)
    assert [found[second] for second in range(10, 90, 10)] == [[words[letter]] for letter in expected.split()]
    named = {event.reason: event.calendar_id for event in backlog.events if event.reason == "blackout"}
    assert all(name in {"s", "f"} for name in named.values())


SPANS = st.lists(st.tuples(st.integers(0, 1200), st.integers(1, 600)), max_size=3)
ACTIONS = st.sampled_from(["skip", "defer", "first_after"])


@given(
    every=st.integers(1, 40),
    late=st.integers(0, 1500),
    after=st.integers(0, 100),
    grace=st.integers(100, 1000),
    policy=st.sampled_from(["latest", "all", "skip"]),
    limit=st.integers(1, 20),
    gone=st.sets(st.integers(1, 30)),
    calendars=st.lists(st.tuples(ACTIONS, SPANS), max_size=3),
)
def test_every_late_slot_is_accounted_for_once_whatever_calendars_say(
    every: int,
    late: int,
    after: int,
    grace: int,
    policy: str,
    limit: int,
    gone: set[int],
    calendars: list[tuple[str, list[tuple[int, int]]]],
) -> None:
    task = task_state(
        schedule={"kind": "interval", "every_seconds": every},
        catch_up={"policy": policy, "after_seconds": after, "grace_seconds": grace, "limit": limit},
        expires_seconds=1,
    )
    made = [
        calendar(f"c{number}", action, *((start, start + length) for start, length in spans))
        for number, (action, spans) in enumerate(calendars)
    ]
    handled = {NOW_S + number * every for number in gone}
    first_s = next(slot for slot in range(NOW_S + every, NOW_S + 40 * every, every) if slot not in handled)
    now_ms = (first_s + after + late) * 1000
    backlog = catch_up(
        Slot(task, first_s, first_s * 1000), now_ms, partition=0, handled=handled, calendars=made
    )
    counted = Counter(slot for slot in handled if slot <= backlog.cursor_s)
    for second, words in told(task, backlog).items():
        counted[NOW_S + second] += len(words)
    known = {slot for slot in handled if slot <= backlog.cursor_s}
    assert counted == Counter({*range(NOW_S + every, backlog.cursor_s + 1, every), *known})
    assert len(backlog.put_off) <= limit + sum(action == "first_after" for action, _ in calendars)
    into = {event.into for event in backlog.events if isinstance(event, Coalesced)}
    kept = [*backlog.runs, *(slot for slot, _ in backlog.put_off)]
    assert into <= {slot_run(slot.nominal_s) for slot in kept}


@pytest.mark.parametrize(
    ("action", "grace", "jitter", "policy"),
    [
        ("skip", 10, 0, "latest"),
        ("defer", 1_000_000, 0, "latest"),
        ("defer", 1_000_000, 3000, "all"),
        ("first_after", 1_000_000, 0, "skip"),
        ("first_after", 10, 30, "latest"),
    ],
)
def test_a_backlog_that_is_broken_up_by_blackouts_is_decided_in_pieces_that_fit_into_a_batch(
    action: str, grace: int, jitter: int, policy: str
) -> None:
    """Six days, each quarter of an hour five minutes of one calendar, and sometimes one of another that is to last."""
    task = task_state(
        schedule={"kind": "interval", "every_seconds": 60, "jitter_seconds": jitter},
        catch_up={"policy": policy, "after_seconds": 10, "grace_seconds": grace, "limit": 20},
        expires_seconds=1,
    )
    end = 6 * 86_400
    spans = [(start, start + 300) for start in range(0, end, 900)]
    others = [(start, start + 60) for start in range(400, end, 900)] + [(end - 9000, end + 9000)]
    made = [calendar("c", "skip", *spans[:1000]), calendar("d", action, *others[-900:])]
    now_ms, counted = (NOW_S + end) * 1000, Counter[int]()
    pieces, memory = 0, memory_of(task)
    while (due := memory.pop_due(now_ms, 1)) and due[0].emit_ms <= now_ms - 10_000:
        backlog = catch_up(due[0], now_ms, partition=0, handled=(), calendars=made)
        # The register, and an event of each span, of each slot that is put off, and of each that waits at the most.
        assert 1 + len(backlog.events) + len(backlog.put_off) + len(backlog.waiting) < 900
        assert len(backlog.runs) <= {"latest": 1, "all": 20, "skip": 0}[policy]
        assert all(now_ms - slot.nominal_s * 1000 <= grace * 1000 for slot in backlog.runs)
        for second, words in told(task, backlog).items():
            counted[NOW_S + second] += len(words)
        task.reg = msgspec.structs.replace(task.reg, cursor_s=backlog.cursor_s)
        memory.schedule(task, NOW_S * 1000)
        pieces += 1
    assert 6 <= pieces <= 12
    assert counted == Counter(range(NOW_S + 60, task.reg.cursor_s + 1, 60))
    assert task.reg.cursor_s >= NOW_S + end - 70


def test_no_more_slots_wait_for_their_jitter_in_one_decision_than_fit_into_a_batch() -> None:
    task = task_state(
        schedule={"kind": "interval", "every_seconds": 1, "jitter_seconds": 3600},
        catch_up={"after_seconds": 10},
    )
    backlog = catch_up(slot_at(task, 1), (NOW_S + 3000) * 1000, partition=0, handled=())
    assert len(backlog.waiting) == 150
    assert backlog.waiting[-1].nominal_s == backlog.cursor_s < NOW_S + 200
