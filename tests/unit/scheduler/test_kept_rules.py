"""By which rules the slots of a revision were made, of all that a part of the calendar ever had."""

from __future__ import annotations

import pytest

from gnomon_scheduler.registers import CalendarRegister, KeptRules


def _rules(fingerprint: str, until_ms: int | None = None, *names: str) -> KeptRules:
    return KeptRules(
        fingerprint=fingerprint, versions={}, rules=fingerprint.encode(), until_ms=until_ms, names=names
    )


@pytest.mark.parametrize(
    ("fingerprint", "aside_ms", "by"),
    [
        pytest.param("a", None, "d", id="untouched by all changes"),
        pytest.param("d", None, "d", id="re-planned"),
        pytest.param("a", 50, "a", id="passed over by both changes"),
        pytest.param("b", 50, "b", id="re-planned by the first, passed over by the second"),
        pytest.param("b", 150, "b", id="passed over by the second"),
        pytest.param("a", 150, "b", id="untouched by the first, passed over by the second"),
        pytest.param("d", 50, "d", id="re-planned after all"),
        pytest.param("c", 50, "d", id="re-planned by a calendar that said the same under another name"),
        pytest.param("x", 250, "d", id="set aside after the last change"),
    ],
)
def test_rules_of_a_revision(fingerprint: str, aside_ms: int | None, by: str) -> None:
    register = CalendarRegister(
        name="zone-Asia/Beirut", past=(_rules("a", 100), _rules("b", 200)), kept=(_rules("d", None, "c"),)
    )
    assert register.rules_of(fingerprint, aside_ms).fingerprint == by
