"""The days that a cron names, as numbers of days since 1970.

croniter steps from day to day; which expression it is given is ours, because of what it does otherwise:

* two restricting day fields of which one is `5#2` mean both to it, where the contract says either;
* `*/2` restricts for it, where Vixie cron and the contract say that a star field does not;
* `5#2,1` in one field is refused by it, and `5L` it knows as `L5` only;
* `2-31,L` is every day to it, since it counts 31 values in a field of 31;
* what it returns near a change of the clock depends on the zone, so it is asked about bare dates, never with one.

So `cron_grammar` turns the day fields into choices, each of a form that croniter reads the same way, and a
day matches when one of the choices does. Every second of a day is laid out by `calendar_slots`, not by
croniter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from threading import Lock
from typing import Final

from croniter import CroniterBadDateError, croniter

from gnomon_schemas.cron_grammar import LAST, DayChoice

__all__ = ["ALL_MONTHS", "MonthDays", "month_days"]

DAY: Final = 86_400
ALL_MONTHS: Final = tuple(range(1, 13))
MEMO_SIZE: Final = 512
"""Answers kept in either direction; a schedule asks for the same few days again and again."""


class MonthDays:
    """The days matched by any of some choices, in some months. Safe to share between threads."""

    __slots__ = ("_choices", "_lock", "_next_known", "_next_memo", "_prev_known", "_prev_memo", "every")

    def __init__(self, months: tuple[int, ...], choices: tuple[DayChoice, ...]) -> None:
        self.every: Final = months == ALL_MONTHS and any(choice.is_every_day for choice in choices)
        """Whether no day is left out; then croniter is never asked."""
        self._choices = (
            ()
            if self.every
            else tuple(croniter(_expression(months, each), 0.0, day_or=False) for each in choices)
        )
        self._lock = Lock()  # croniter remembers where it is while it steps
        # Ends of the last stretch looked at: no day matches between them. Each pair is one value, so that a thread
        # never sees halves of two.
        self._next_known = self._prev_known = (0, -1)
        self._next_memo: dict[int, int | None] = {}
        self._prev_memo: dict[int, int | None] = {}

    def has(self, day: int) -> bool:
        """Whether a day matches."""
        return self.every or self.next(day) == day

    def next(self, day: int) -> int | None:
        """The first day that matches, from `day` on; None when there is none for fifty years."""
        if self.every:
            return day
        since, known = self._next_known
        if since <= day <= known:
            return known
        found = self._next_memo.get(day, -1)
        if found == -1:
            found = self._step(self._next_memo, day, min, lambda each: each.get_next(float, day * DAY - 1.0))
        if found is not None:
            self._next_known = (day, found)
        return found

    def prev(self, day: int) -> int | None:
        """The last day that matches, up to and with `day`; None when there is none for fifty years."""
        if self.every:
            return day
        known, since = self._prev_known
        if known <= day <= since:
            return known
        found = self._prev_memo.get(day, -1)
        if found == -1:
            found = self._step(self._prev_memo, day, max, lambda each: each.get_prev(float, day * DAY + 1.0))
        if found is not None:
            self._prev_known = (found, day)
        return found

    def count(self, first: int, beyond: int) -> int:
        """How many days of [first, beyond) match."""
        if self.every:
            return max(beyond - first, 0)
        found = 0
        day = self.next(first)
        while day is not None and day < beyond:
            found += 1
            day = self.next(day + 1)
        return found

    def _step(
        self,
        memo: dict[int, int | None],
        day: int,
        choose: Callable[[Iterable[int]], int],
        step: Callable[[croniter], float],
    ) -> int | None:
        found = []
        with self._lock:
            for each in self._choices:
                try:
                    found.append(int(step(each)) // DAY)
                except CroniterBadDateError:
                    continue  # no such day within fifty years: the other choices decide
        if len(memo) >= MEMO_SIZE:
            memo.clear()
        memo[day] = answer = choose(found) if found else None
        return answer


@lru_cache(maxsize=8192)
def month_days(months: tuple[int, ...], choices: tuple[DayChoice, ...]) -> MonthDays:
    """The one `MonthDays` of these choices: expressions that name the same days share what it knows."""
    return MonthDays(months, choices)


def _expression(months: tuple[int, ...], choice: DayChoice) -> str:
    """Midnight of the choice's days, in croniter's own words."""
    dates = [str(date) for date in choice.dates if not (choice.last_date and date == 31)]
    if choice.last_date:
        dates.append("L")  # the 31st is a last day, always
    if choice.nth:
        weekdays = [f"L{day}" if which == LAST else f"{day}#{which}" for day, which in choice.nth]
    else:
        weekdays = [str(day) for day in choice.weekdays]
    day_field = "*" if len(choice.dates) == 31 else ",".join(dates)
    weekday_field = "*" if len(choice.weekdays) == 7 and not choice.nth else ",".join(weekdays)
    return f"0 0 {day_field} {','.join(map(str, months))} {weekday_field}"
