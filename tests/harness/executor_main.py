"""An executor with traps in its bus and, where wanted, a wrong clock; everything else is the product's."""

from __future__ import annotations

import os
import sys

from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.supervisor import Supervisor, run_process
from gnomon_executor.bootstrap import bootstrap
from gnomon_executor.settings import ExecutorSettings
from tests.harness.clocks import clock_from
from tests.harness.stopping import trap_bus_from


async def build() -> Supervisor:
    """The executor's own bootstrap, with a bus of ours."""
    settings = ExecutorSettings.load(os.environ)
    bus = await connect(settings, name="gnomon-executor-trapped", make_bus=trap_bus_from(os.environ))
    return await bootstrap(settings, bus=bus, clock=clock_from(os.environ))


if __name__ == "__main__":
    code = run_process(build, name="executor")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
