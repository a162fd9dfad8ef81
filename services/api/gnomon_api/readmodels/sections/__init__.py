"""The read models, one module each, and the one list of them.

To add one:

1. a module here with its row (a NamedTuple or Struct, its fields in the order of the columns), its `TableWrite` and
   a `Section` that listens to events or to what other sections tell (`executions.Began`, `executions.Ended`: each
   told once per execution, whatever else is on its chain);
2. its `create table` in a file under `readmodels/schema/` and the same as the next migration, which a test compares;
3. a line in `all_sections` below.

Everything else takes it from the list: the writer, checksums, rebuild, `gnomon verify`.

A section that only shows the newest of each object (pools, templates …) needs no rows in memory: it lists its events
under `objects` by kind and name, as `pools.py` does, and writes with `Mode.REPLACE`. One that counts (sums per hour,
per user) needs none either: it keeps the batch's sums and writes with `Mode.ADD`. Only what an event changes
depending on the row that is there has to be loaded, as `tasks.py` and `executions.py` do.

Sections hear an event in the order of the list.
"""

from __future__ import annotations

from gnomon_api.readmodels.retention import KEPT
from gnomon_api.readmodels.section import Section
from gnomon_api.readmodels.sections.accounts import AccountSection
from gnomon_api.readmodels.sections.calendars import CalendarSection
from gnomon_api.readmodels.sections.commands import CommandSection
from gnomon_api.readmodels.sections.executions import ExecutionSection
from gnomon_api.readmodels.sections.history import HistorySection
from gnomon_api.readmodels.sections.object_history import ObjectHistorySection
from gnomon_api.readmodels.sections.pools import PoolSection
from gnomon_api.readmodels.sections.rollups import RollupSection
from gnomon_api.readmodels.sections.spans import SpanSection
from gnomon_api.readmodels.sections.status_changes import StatusChangeSection
from gnomon_api.readmodels.sections.tasks import TaskSection
from gnomon_api.readmodels.sections.templates import TemplateSection

__all__ = ["READ_MODELS", "all_sections"]


def all_sections() -> list[Section]:
    """Every read model, with nothing in memory."""
    return [
        TaskSection(),
        ExecutionSection(),
        SpanSection(),
        HistorySection(),
        StatusChangeSection(),
        PoolSection(),
        ObjectHistorySection(),
        TemplateSection(),
        AccountSection(),
        CalendarSection(),
        CommandSection(),
        RollupSection(),
    ]


READ_MODELS = (*dict.fromkeys(one.table for section in all_sections() for one in section.writes), *KEPT)
"""The tables that are made from events, and from removals of what is old."""
