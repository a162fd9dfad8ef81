"""A scheduler with traps in its bus and, where wanted, a wrong clock or another calendar; all else is the product's."""

from __future__ import annotations

import os
import sys

from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.supervisor import Supervisor, run_process
from gnomon_scheduler.bootstrap import bootstrap
from gnomon_scheduler.settings import SchedulerSettings
from tests.harness.calendars import calendar_from
from tests.harness.clocks import clock_from
from tests.harness.stopping import trap_bus_from


async def build() -> Supervisor:
    """The scheduler's own bootstrap, with a bus of ours."""
    settings = SchedulerSettings.load(os.environ)
    bus = await connect(settings, name="gnomon-scheduler-trapped", make_bus=trap_bus_from(os.environ))
    return await bootstrap(settings, bus=bus, clock=clock_from(os.environ))


if __name__ == "__main__":
    with calendar_from(os.environ):
        sys.exit(run_process(build, name="scheduler"))
