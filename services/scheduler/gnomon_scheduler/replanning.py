"""What a leader does about the calendar before its first turn. The reasons are in ADR 0015.

Terms. The *calendar* is what slots depend on besides the schedule: the rules of zones, each a *part* with a name and
rules (`gnomon_core.timing.calendars`). The rules that the slots of this shard were made by are *kept*, one register a
part (`registers.CalendarRegister`); the process has rules of its *own*. A task is *touched* when its slots differ
under the two.

`settle_calendar` leaves the shard with all parts kept as they are in this process. On the way there are three kinds of
batches, and a crash after any of them leaves something to go on from:

1. the parts that differ, with the own rules beside the kept ones, as soon as a touched task is found;
2. the touched tasks: a revision with the own fingerprint, by which whoever goes on knows that it goes by the own rules;
3. the parts that differ, with the own rules alone, and what was kept among the past.

No slot is handed out and no command decided meanwhile, so nothing but 2 makes revisions.

**A task that is set aside meanwhile** (`setting_aside`) is passed over, and its slots since then were promised by rules
that are past once 3 is stored. A leader that can read it again finds these by the instant at which it was set aside,
and re-plans it then: up to the change by them, after it by its own. Where there was more than one change meanwhile it
goes from the first to the own rules at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
import structlog

from gnomon_core import holiday_dates
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.timing import as_of, difference, keep, names_of, same_rules, text_of
from gnomon_scheduler.applying import Applier
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.command import Surroundings
from gnomon_scheduler.decisions.own_changes import end_pause
from gnomon_scheduler.decisions.replanning import Calendars, compared_from_s, decided_until_ms, replan
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import CalendarRegister, KeptRules
from gnomon_scheduler.units import Unit
from gnomon_schemas.events import CalendarName, Event
from gnomon_schemas.schedules import Schedule

__all__ = ["settle_calendar"]

_log = structlog.get_logger(__name__)
_LOOKED_AT_ONCE: Final = 2000
"""Tasks between two looks at what else the process has to do: its leases must not wait."""
_COMPARED_AT_ONCE: Final = 50
_STORED_AT_ONCE: Final = 400
_NAMES_MAX: Final = 16
"""Calendars that said the same: so many of their fingerprints are remembered."""
_PAST_MAX: Final = 16
"""Former rules of a part that its register remembers."""


class _Part(NamedTuple):
    """A part of the calendar: what is kept of it, and what the process has."""

    register: CalendarRegister
    own: KeptRules

    @property
    def differs(self) -> bool:
        """Whether slots may have been made by other rules than the own ones."""
        kept = self.register.kept
        return len(kept) > 1 or not self.agrees(kept[0])

    @property
    def has_other_name(self) -> bool:
        """Whether what is kept is said to be of another calendar, or is not what the process has to the letter."""
        (kept,) = self.register.kept
        return (kept.fingerprint, kept.versions, kept.rules) != (
            self.own.fingerprint,
            self.own.versions,
            self.own.rules,
        )

    def renamed(self) -> CalendarRegister:
        """The register with the own rules, which say what the kept ones say."""
        (kept,) = self.register.kept
        names = dict.fromkeys((*kept.names, kept.fingerprint))
        names.pop(self.own.fingerprint, None)
        own = msgspec.structs.replace(self.own, names=tuple(names)[-_NAMES_MAX:])
        return msgspec.structs.replace(self.register, kept=(own,))

    def agrees(self, rules: KeptRules) -> bool:
        """Whether rules say what the own ones say."""
        try:
            return same_rules(self.register.name, rules.rules, self.own.rules)
        except ValueError:
            return False  # they are no rules: told of where they are made known


async def settle_calendar(
    book: Book,
    surroundings: Callable[[int], Surroundings],
    applier: Applier,
) -> None:
    """Re-plan what the process's own calendar moves, and have its rules kept. To be called before the first turn.

    `surroundings` of an instant. Raises Deposed.
    """
    started = time.monotonic()
    if any(name.startswith("holidays-") for name in book.memory.calendars) and not holiday_dates.is_loaded():
        # The own ones are asked for below; importing the library would hold up the loop.
        await asyncio.to_thread(holiday_dates.load)
    await _keep_what_is_in_use(book)
    parts = {part.register.name: part for part in _parts(book)}
    differing = {name: part for name, part in parts.items() if part.differs}
    # The same rules under another calendar's name are said to be of that from now on.
    # First: by that name those know that they are re-planned which a change before now has passed over.
    await _keep(
        book,
        [part.renamed() for name, part in parts.items() if name not in differing and part.has_other_name],
    )
    parts = {part.register.name: part for part in _parts(book)}
    if not differing and not (book.memory.resumed and any(part.register.past for part in parts.values())):
        return
    change = _Change(book, parts, differing, surroundings, applier)
    await change.replan_tasks()
    await _keep(book, change.closing())
    if not differing and not change.replanned:
        return
    _log.warning(
        LogEvent.CALENDAR_CHANGED,
        partition=book.partition,
        changed=sorted(differing),
        replanned=change.replanned,
        seconds=round(time.monotonic() - started, 3),
    )


async def _keep_what_is_in_use(book: Book) -> None:
    """The first time, and after a version that kept nothing: see to it that every part in use has its register."""
    if book.calendars_kept:
        return
    names: set[str] = set()
    for index, task in enumerate(list(book.memory.tasks.values())):
        if index % _LOOKED_AT_ONCE == _LOOKED_AT_ONCE - 1:
            await asyncio.sleep(0)
        with book.aside.task(task.task_id, "finding out what its slots depend on"):
            schedule = task.outline.spec.schedule
            if schedule is not None:
                names |= names_of(schedule)
    missing = sorted(names - book.memory.calendars.keys())
    await _keep(
        book, [CalendarRegister(name=name, kept=(own,)) for name in missing if (own := book.own(name))]
    )
    book.calendars_kept = True
    if missing:
        _log.info(LogEvent.CALENDAR_KEPT, partition=book.partition, names=missing)


def _parts(book: Book) -> Iterator[_Part]:
    """What is kept, as far as this release knows it: what it does not know stays as it is."""
    for name, register in book.memory.calendars.items():
        own = book.own(name, _readable(name, register))
        if own is not None:
            yield _Part(register, own)


def _readable(name: str, register: CalendarRegister) -> bytes | None:
    """What is kept, if it can be read at all."""
    try:
        same_rules(name, register.kept[0].rules, register.kept[0].rules)
    except ValueError:
        return None
    return register.kept[0].rules


async def _keep(book: Book, registers: list[CalendarRegister]) -> None:
    if registers:
        # Each stands for itself, so they need not fit into one batch.
        await _store(book, [Unit(others=[book.calendar_register(register)]) for register in registers])


async def _store(book: Book, units: list[Unit]) -> None:
    """Store units that hand nothing out: the watermark stays."""
    await book.store(units, book.watermark_ms)


class _Change:
    """One change of the calendar of one shard."""

    def __init__(
        self,
        book: Book,
        all_parts: dict[str, _Part],
        parts: dict[str, _Part],
        surroundings: Callable[[int], Surroundings],
        applier: Applier,
    ) -> None:
        """`parts`: those of all that differ."""
        self._book, self._surroundings, self._applier = book, surroundings, applier
        self._all_parts, self._parts = all_parts, parts
        # Not before a change that is under way, whatever the clock of its leader was: readers go by this order.
        until = [rules.until_ms or 0 for part in parts.values() for rules in part.register.kept]
        self._now_ms = max([book.now_ms(), *until])
        self._opened = False
        self._names: dict[bytes, str] = {}
        """What kept rules are called in schedules."""
        for name, part in parts.items():
            for rules in part.register.kept:
                self._make_known(name, rules)
        if book.memory.resumed:
            for name, part in all_parts.items():
                for rules in part.register.past:
                    self._make_known(name, rules)
        self.replanned = 0

    def _make_known(self, name: str, rules: KeptRules) -> None:
        try:
            self._names[rules.rules] = keep(name, rules.rules)
        except ValueError as error:
            # Nothing can be compared with them: as if there had been none.
            _log.error(LogEvent.CALENDAR_UNREADABLE, name=name, error=str(error))

    async def replan_tasks(self) -> None:
        """Step 2, and before the first task that is touched, step 1."""
        texts = [text_of(name).encode() for name in self._parts]
        memory = self._book.memory
        units: list[Unit] = []
        compared = 0
        # Where nothing differs, only those are to be looked at that a change before now has passed over.
        tasks = memory.tasks if texts else memory.resumed
        for index, task_id in enumerate(list(tasks)):
            if index % _LOOKED_AT_ONCE == _LOOKED_AT_ONCE - 1:
                await asyncio.sleep(0)
            task = memory.tasks.get(task_id)
            if task is None or not (task_id in memory.resumed or task.may_mention(texts)):
                continue
            compared += 1
            if compared % _COMPARED_AT_ONCE == 0:
                await asyncio.sleep(0)
            unit = None
            with self._book.aside.task(task_id, "re-planning it"):
                unit = self._look_at(task)
            if unit is None:
                continue
            await self._open()
            units.append(unit)
            if len(units) >= _STORED_AT_ONCE:
                await _store(self._book, units)
                units = []
        if units:
            await _store(self._book, units)

    def _look_at(self, task: TaskState) -> Unit | None:
        """The new revision of a task; None where its slots are what they were."""
        outline = task.outline
        schedule = outline.spec.schedule
        if schedule is None or outline.ended is not None or outline.deleted_ms is not None:
            return None
        if outline.exhausted:
            return None
        book = self._book
        aside_ms = book.memory.resumed.get(task.task_id)
        rules = self._kept_of(schedule, outline.fingerprint, aside_ms)
        if not rules:
            return None
        names = tuple((name, self._names[one.rules]) for name, one in rules.items())
        handled = book.memory.handled.get(task.task_id, ())
        left_ms = until_ms = book.watermark_ms
        if aside_ms is not None:
            # Its slots are left from when it was set aside, and were promised up to the change that passed it over.
            left_ms = min(left_ms, aside_ms)
            until_ms = min(until_ms, *(one.until_ms or until_ms for one in rules.values()))
        at_ms = decided_until_ms(task, until_ms, handled)
        since_s = compared_from_s(task, left_ms, at_ms)
        found = difference(schedule, names, since_s, at_ms // 1000)
        if found is None:
            return None
        former = next(iter(rules.values()))
        calendars = Calendars(
            CalendarName(fingerprint=former.fingerprint, versions=former.versions),
            book.calendar,
            tuple(name for name, _ in names),
        )
        before = as_of(schedule, names)
        over = self._end_pause(task, before, at_ms)
        decision = replan(
            task,
            before,
            found,
            calendars,
            at_ms=at_ms,
            watermark_ms=left_ms,
            handled=handled,
            around=self._surroundings(self._now_ms),
        )
        decision.events[:0] = over
        self.replanned += 1
        return self._applier.apply(task, decision)

    def _end_pause(self, task: TaskState, before: Schedule, at_ms: int) -> list[Event]:
        """End a pause that the former leader had ended when it died: the slots since then are handed out."""
        until_ms = task.reg.paused_until_ms
        if until_ms is None or at_ms < until_ms:
            return []
        decision = end_pause(task, [], self._surroundings(until_ms - 1), before)
        if decision is None:
            return []
        task.reg = decision.reg
        return decision.events

    def _kept_of(self, schedule: Schedule, fingerprint: str, aside_ms: int | None) -> dict[str, KeptRules]:
        """By name, the rules that a revision with this fingerprint goes by, where the own ones are others.

        `aside_ms`: when its task was set aside, where it was."""
        kept: dict[str, KeptRules] = {}
        parts = self._parts if aside_ms is None else self._all_parts
        for name in sorted(names_of(schedule) & parts.keys()):
            part = parts[name]
            rules = part.register.rules_of(fingerprint, aside_ms)
            if not part.agrees(rules) and rules.rules in self._names:
                kept[name] = rules
        return kept

    async def _open(self) -> None:
        if self._opened:
            return
        self._opened = True
        await _keep(self._book, [self._opening(part) for part in self._parts.values()])

    def _opening(self, part: _Part) -> CalendarRegister:
        kept = part.register.kept
        newest = kept[-1]
        if newest.fingerprint == part.own.fingerprint and part.agrees(newest):
            return part.register
        until_now = msgspec.structs.replace(newest, until_ms=self._now_ms)
        return msgspec.structs.replace(part.register, kept=(*kept[:-1], until_now, part.own))

    def closing(self) -> list[CalendarRegister]:
        """What step 3 stores: what was kept is past."""
        registers = []
        for part in self._parts.values():
            opened = self._opening(part)
            past = (*opened.past, *opened.kept[:-1])[-_PAST_MAX:]
            registers.append(CalendarRegister(name=opened.name, kept=(opened.kept[-1],), past=past))
        return registers
