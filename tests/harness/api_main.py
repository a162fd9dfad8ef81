"""An api with a wrong clock; all else is the product's."""

from __future__ import annotations

import os
import sys

from gnomon_api.bootstrap import bootstrap
from gnomon_core.runtime.supervisor import Supervisor, run_process
from tests.harness.clocks import clock_from


async def build() -> Supervisor:
    """The api's own bootstrap, with a clock of ours."""
    return await bootstrap(clock=clock_from(os.environ))


if __name__ == "__main__":
    sys.exit(run_process(build, name="api"))
