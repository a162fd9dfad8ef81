"""What commands of kind `calendar` do to a calendar of blackouts."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_scheduler.decisions.calendars import decide_calendar, view_calendar
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.object_registers import CalendarObjectRegister
from gnomon_schemas.blackouts import CalendarCreated, CalendarDeleted, CalendarUpdated
from gnomon_schemas.codec import encode
from gnomon_schemas.problems import Code, Refused

AROUND = Surroundings(1_795_000_000_000, 3, {}, "Europe/Berlin", "f", 0)
SPEC: dict[str, Any] = {
    "name": "Maintenance",
    "selector": {"tags": ["db"]},
    "recurring": [{"schedule": {"kind": "interval", "every_seconds": 86_400}, "duration_seconds": 600}],
}


def command(verb: str, body: object, *, user: str | None = None, if_match: str | None = None) -> Command:
    return Command("calendar", verb, "maintenance", "c1", user, False, if_match, encode(body), 7)


def made() -> CalendarObjectRegister:
    decision = decide_calendar(None, command("create", SPEC), AROUND)
    assert decision.created
    assert isinstance(decision.event, CalendarCreated)
    assert isinstance(decision.reg, CalendarObjectRegister)
    assert decision.event.calendar == view_calendar(decision.reg)
    return decision.reg


def test_one_that_is_sent_again_is_the_same_also_later() -> None:
    reg = made()
    again = decide_calendar(reg, command("create", SPEC), AROUND._replace(now_ms=AROUND.now_ms + 90_000))
    assert not again.created
    assert again.reg is reg
    other = {**SPEC, "action": "defer"}
    with pytest.raises(Refused, match="differs in action") as refused:
        decide_calendar(reg, command("create", other), AROUND)
    assert refused.value.problem.code is Code.ALREADY_EXISTS


def test_a_change_raises_the_version_and_tells_what_changed() -> None:
    reg = made()
    changed = decide_calendar(reg, command("update", {"enabled": False}, if_match='"1"'), AROUND)
    assert isinstance(changed.event, CalendarUpdated)
    assert (changed.reg.version, changed.event.version) == (2, 2)
    assert [(change.field, change.new) for change in changed.event.changes] == [("enabled", False)]
    same = decide_calendar(reg, command("update", {"enabled": True}), AROUND)
    assert same.reg is reg
    assert isinstance(same.event, CalendarUpdated)
    assert same.event.changes == ()


def test_a_deleted_one_leaves_a_tombstone_that_is_in_force_nowhere() -> None:
    gone = decide_calendar(made(), command("delete", {}), AROUND)
    assert isinstance(gone.event, CalendarDeleted)
    assert isinstance(gone.reg, CalendarObjectRegister)
    assert gone.reg.deleted_ms == AROUND.now_ms
    assert (gone.reg.spec.enabled, gone.reg.spec.recurring) == (False, ())
    for verb, code in (("update", Code.NOT_FOUND), ("create", Code.DELETED)):
        with pytest.raises(Refused) as refused:
            decide_calendar(gone.reg, command(verb, SPEC), AROUND)
        assert refused.value.problem.code is code


def test_only_admins_and_services_change_one() -> None:
    with pytest.raises(Refused) as refused:
        decide_calendar(None, command("create", SPEC, user="u1"), AROUND)
    assert refused.value.problem.code is Code.FORBIDDEN


def test_a_recurring_span_that_begins_too_often_is_refused_at_a_change_too() -> None:
    often = [{"schedule": {"kind": "interval", "every_seconds": 60}, "duration_seconds": 5}]
    for reg, verb, body in (
        (None, "create", {**SPEC, "recurring": often}),
        (made(), "update", {"recurring": often}),
    ):
        with pytest.raises(Refused) as refused:
            decide_calendar(reg, command(verb, body), AROUND)
        assert refused.value.problem.errors[0].pointer == "#/recurring/0/schedule"
