"""`python -m gnomon_api`: one api process, configured by the environment."""

from __future__ import annotations

import sys

from gnomon_api.bootstrap import bootstrap
from gnomon_core.runtime.supervisor import run_process

if __name__ == "__main__":
    sys.exit(run_process(bootstrap, name="api"))
