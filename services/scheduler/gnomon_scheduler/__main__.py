"""`python -m gnomon_scheduler`: one scheduler process, configured by the environment."""

from __future__ import annotations

import sys

from gnomon_core.runtime.supervisor import run_process
from gnomon_scheduler.bootstrap import bootstrap

if __name__ == "__main__":
    sys.exit(run_process(bootstrap, name="scheduler"))
