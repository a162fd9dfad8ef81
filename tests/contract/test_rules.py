"""Every rule of the task domain has a number, a place in the code, and a test named after it; and they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gnomon_schemas.documents.rules import GROUPS, RULES, Rule

ROOT = Path(__file__).resolve().parents[2]
HOW_MANY = {"TSK": 9, "UPD": 6, "EXE": 8, "SCH": 5, "STS": 8, "TPL": 5, "ANA": 5}


def test_no_number_is_left_out() -> None:
    wanted = [f"{group}-{number:03}" for group in GROUPS for number in range(1, HOW_MANY[group] + 1)]
    assert [one.number for one in RULES] == wanted


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.number)
def test_what_a_rule_names_is_there(rule: Rule) -> None:
    assert rule.code
    assert rule.tests
    for place in (*rule.code, *rule.tests):
        path, _, name = place.partition(":")
        source = (ROOT / path).read_text()
        assert re.search(rf"^(?:async def|def|class) {name}\b|^{name}\b", source, re.MULTILINE), place
    group, number = rule.number.split("-")
    for place in rule.tests:
        named = re.search(r"test_br_([a-z]+)_(\d{3})(?:_(?:to|and)_(\d{3}))?_", place)
        assert named, place
        assert named[1].upper() == group
        assert int(named[2]) <= int(number) <= int(named[3] or named[2]), place


def test_every_test_that_is_named_after_a_rule_is_named_by_it() -> None:
    """So that whoever follows the page from a number finds all that is tested of it."""
    named = {place for rule in RULES for place in rule.tests}
    found = {
        f"{path.relative_to(ROOT)}:{name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name in re.findall(r"^(?:async )?def (test_br_\w+)", path.read_text(), re.MULTILINE)
    }
    assert found == named
