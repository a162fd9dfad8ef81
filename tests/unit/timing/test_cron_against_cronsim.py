"""50,000 cron expressions and instants against cronsim, which shares no code with croniter or with us.

Where the two differ, a row of `DIFFERENCES` must explain it, and not in words only. Most rows are *translations*: the
same question, put so that both mean the same, has the same answer. The others check with cronsim's own fields that it
passed a matching time by. A difference that no row explains fails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError

from gnomon_core.timing import next_fire
from gnomon_core.timing.zone_clock import ZoneClock
from gnomon_schemas.cron_grammar import CronError
from gnomon_schemas.schedules import Cron, Dst
from tests.unit.timing.cron_cases import MONTHS, WEEKDAYS, Case, cases

# Reckons for a while, and for longer where other workers do too.
pytestmark = pytest.mark.timeout(180)

PARTS = 10
CASES = 50_000
PAGE = Path(__file__).parents[3] / "docs/explanation/time.md"
REFUSED, NEVER = "refused", "never"
Answer = int | str
"""The instant of the first fire, or one of the two words above."""
REAL_TIME = Dst(gap="skip", overlap="both")
_STEP = re.compile(r"(\w+)(?:-(\w+))?/(\d+)")


class Row(NamedTuple):
    """A difference that is known, and one case of it."""

    words: str
    example: Case
    ours: Answer
    theirs: Answer


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


DIFFERENCES: Final = {
    "one-value-range": Row(
        "`4-4/2`: a range of one value is that value. cronsim goes on to the field's end, as for `4/2`",
        Case("0 4-4/2 * * *", "UTC", _at("2026-09-21T05:00:00Z")),
        _at("2026-09-22T04:00:00Z"),
        _at("2026-09-21T06:00:00Z"),
    ),
    "weekday-step": Row(
        "`3/2` as day of week ends with Saturday, and `7/2` is `0/2`. cronsim counts on to a 7, which is Sunday",
        Case("0 4 * * 3/2", "UTC", _at("2026-09-26T00:00:00Z")),
        _at("2026-09-30T04:00:00Z"),
        _at("2026-09-27T04:00:00Z"),
    ),
    "real-time": Row(
        "A rule that names hours goes by the clock. cronsim goes by real time if the minutes begin with `*` or there "
        "are seconds",
        Case("*/15 2 * * *", "Europe/Berlin", _at("2026-03-28T12:00:00Z")),
        _at("2026-03-29T01:00:00Z"),
        _at("2026-03-30T00:00:00Z"),
    ),
    "passed-by": Row(
        "Around a change by half an hour, or one at midnight, cronsim passes by times that its own fields match",
        Case("* 3 * * *", "Australia/Lord_Howe", _at("2007-03-24T05:43:24+11:00")),
        _at("2007-03-25T03:00:00+10:30"),
        _at("2007-03-25T03:30:00+10:30"),
    ),
    "midnight-gap": Row(
        "Where a clock skips midnight, cronsim answers with that date's first instant, which its fields do not match",
        Case("* */16 * * 0", "America/Havana", _at("2000-04-01T16:59:00-05:00")),
        _at("2000-04-02T16:00:00-04:00"),
        _at("2000-04-02T01:00:00-04:00"),
    ),
    "goes-back": Row(
        "Asked in the second showing of an hour, cronsim answers with the first, which is over",
        Case("58 2-22/2 * * *", "Europe/Berlin", _at("2000-10-29T02:03:35+01:00")),
        _at("2000-10-29T04:58:00+01:00"),
        _at("2000-10-29T02:58:00+02:00"),
    ),
    "long-step": Row(
        "`*/60` in minutes: a step beyond the field is refused as a mistake. cronsim takes it for the first value",
        Case("*/60 * * * *", "UTC", _at("2026-09-21T05:30:00Z")),
        REFUSED,
        _at("2026-09-21T06:00:00Z"),
    ),
    "never": Row(
        "Days that never come are refused. cronsim looks for fifty years, and gives up",
        Case("0 0 */30 2 1#4", "UTC", _at("2026-09-21T05:30:00Z")),
        REFUSED,
        NEVER,
    ),
    "last-weekday": Row(
        "`LW`, the last working day of a month, is no form of the contract",
        Case("0 0 LW * *", "UTC", _at("2026-09-21T05:30:00Z")),
        REFUSED,
        _at("2026-09-30T00:00:00Z"),
    ),
    "last-of-weekday": Row(
        "`L5` for the last Friday, as croniter spells it, besides `5L`. cronsim knows `5L` only",
        Case("0 0 * * L5", "UTC", _at("2026-09-21T05:30:00Z")),
        _at("2026-09-25T00:00:00Z"),
        REFUSED,
    ),
    "alias": Row(
        "`@daily` and the like. cronsim knows none",
        Case("@daily", "UTC", _at("2026-09-21T05:30:00Z")),
        _at("2026-09-22T00:00:00Z"),
        REFUSED,
    ),
}


def _ours(case: Case, dst: Dst | None = None) -> Answer:
    try:
        found = next_fire(Cron(expression=case.expression, timezone=case.zone, dst=dst), case.after)
    except CronError:
        return REFUSED
    return NEVER if found is None else found


def _theirs(case: Case) -> Answer:
    zone = UTC if case.zone == "UTC" else ZoneInfo(case.zone)
    try:
        return int(next(CronSim(case.expression, datetime.fromtimestamp(case.after, zone))).timestamp())
    except CronSimError:
        return REFUSED
    except StopIteration:
        return NEVER


def _each_item(expression: str, change: Callable[[str, int, str], str]) -> str:
    """An expression with each item of each field changed: `change` gets its field's number from the right, and it."""
    fields = expression.split()
    return " ".join(
        ",".join(change(item, len(fields) - number, field) for item in field.split(","))
        for number, field in enumerate(fields)
    )


def _number(text: str) -> int:
    names = {name: number for number, name in enumerate(WEEKDAYS)} | {
        name: number for number, name in enumerate(MONTHS, 1)
    }
    return names[text.lower()] if text.isalpha() else int(text)


def _goes_to_the_end(item: str, _from_right: int, _field: str) -> str:
    match = _STEP.fullmatch(item)
    one = match and match[2] and _number(match[1]) == _number(match[2])
    return f"{match[1]}/{match[3]}" if match and one else item


def _reaches_a_seven(item: str, from_right: int, _field: str) -> str:
    match = _STEP.fullmatch(item)
    if match is None or match[2] or from_right != 1:
        return item
    return ",".join(map(str, range(_number(match[1]), 8, int(match[3]))))


def _in_real_time(case: Case) -> Dst | None:
    """What cronsim does at a change of the clock, where that is something else than our default."""
    minute, hour, *_ = case.expression.split()[-5:]
    by_clock = minute[0] != "*" and len(case.expression.split()) == 5
    return REAL_TIME if hour[0] != "*" and not by_clock else None


def _translations(case: Case) -> list[tuple[tuple[str, ...], Answer]]:
    """Our answers to the same question as cronsim understands it, by the rows that it takes; the fewest first."""
    rows = ("one-value-range", "weekday-step", "real-time")
    found = []
    for count in range(len(rows) + 1):
        for chosen in combinations(rows, count):
            expression = case.expression
            if "one-value-range" in chosen:
                expression = _each_item(expression, _goes_to_the_end)
            if "weekday-step" in chosen:
                expression = _each_item(expression, _reaches_a_seven)
            dst = _in_real_time(case) if "real-time" in chosen else None
            found.append((chosen, _ours(case._replace(expression=expression), dst)))
    return found


def _matches(case: Case, instant: int) -> bool:
    """Whether an instant is a match by cronsim's own fields."""
    local = datetime.fromtimestamp(instant, ZoneInfo(case.zone))
    sim = CronSim(case.expression, local)
    times = local.second in sim.seconds and local.minute in sim.minutes and local.hour in sim.hours
    return times and local.month in sim.months and sim.match_day(local.date())


def _ends_a_gap(zone: str, instant: int) -> bool:
    piece = ZoneClock(zone).piece_at(instant)
    return piece.start == instant and len(piece.gap) > 0


def _oddly_changed(zone: str, after: int, until: int) -> bool:
    """Whether the zone's clock changed in a span by no whole hour, or to or from midnight."""
    piece = ZoneClock(zone).piece_at(after)
    while piece.end <= until:
        before, piece = piece, ZoneClock(zone).piece_at(piece.end)
        jump = piece.offset - before.offset
        walls = {(piece.start + each.offset) % 86_400 for each in (before, piece)}
        if jump % 3600 or (jump and 0 in walls):
            return True
    return False


def explain(case: Case, ours: Answer, theirs: Answer) -> tuple[str, ...] | None:
    """The rows that explain why two answers differ; None: nothing does."""
    if ours == REFUSED or theirs == REFUSED:
        return _refusal(case, ours)
    assert isinstance(ours, int), "what fires never is refused"
    translated = _translations(case)
    for rows, answer in translated:
        if answer == theirs:
            return rows
    if not isinstance(theirs, int):
        return None
    if theirs <= case.after:
        return ("goes-back",)
    if _ends_a_gap(case.zone, theirs) and not _matches(case, theirs):
        return ("midnight-gap",)
    for rows, answer in translated:
        passed_by = isinstance(answer, int) and answer < theirs and _matches(case, answer)
        if passed_by and _oddly_changed(case.zone, case.after - 3600, theirs):
            return (*rows, "passed-by")
    return None


def _refusal(case: Case, ours: Answer) -> tuple[str, ...] | None:
    if ours != REFUSED:
        if case.expression.startswith("@"):
            return ("alias",)
        return ("last-of-weekday",) if re.search(r" L[0-6]$", case.expression) else None
    try:
        next_fire(Cron(expression=case.expression, timezone=case.zone), case.after)
    except CronError as error:
        if "a step is 1 to" in str(error):
            return ("long-step",)
        if "can never fire" in str(error):
            return ("never",)
        if "LW" in case.expression and "'lw'" in str(error):
            return ("last-weekday",)
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_every_difference_is_explained(part: int) -> None:
    count: Counter[str] = Counter()
    unexplained = []
    for case in cases(seed=20_261_122 + part, count=CASES // PARTS):
        ours, theirs = _ours(case), _theirs(case)
        if ours == theirs:
            count["same"] += 1
        elif (rows := explain(case, ours, theirs)) is None:
            unexplained.append((case, ours, theirs))
        else:
            count.update(rows)
    assert unexplained == []
    assert count["same"] > 0.9 * CASES / PARTS
    assert count.keys() >= {
        "weekday-step",
        "one-value-range",
        "long-step",
    }  # it does meet what it should explain


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_row_has_a_case_that_it_explains(name: str) -> None:
    row = DIFFERENCES[name]
    assert (_ours(row.example), _theirs(row.example)) == (row.ours, row.theirs)
    if row.ours != row.theirs:
        assert explain(row.example, row.ours, row.theirs) == (name,)


def test_what_no_row_explains_is_not_explained() -> None:
    """The table is no excuse for everything: a fire that is a minute off, or a day, has no row."""
    for case in (
        Case("30 2 * * *", "Europe/Berlin", 0),
        Case("*/5 9-17 * * 1-5", "UTC", 0),
        Case("0 0 1 * *", "UTC", 0),
    ):
        right = _theirs(case)
        assert isinstance(right, int)
        for wrong in (right + 60, right - 60, right + 86_400):
            assert explain(case, wrong, right) is None or explain(case, wrong, right) == ()


def test_the_page_lists_every_row() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [line[2:-2] for line in text.splitlines() if line.startswith("| ")]
    missing = [row.words for row in DIFFERENCES.values() if not any(row.words in line for line in rows)]
    assert missing == []
