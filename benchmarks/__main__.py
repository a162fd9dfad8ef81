"""All questions, or those of `--only`: how fast is Gnomon on this machine, beside what NATS and Postgres do bare?

.venv/bin/python -m benchmarks [--only executions,fires] [--fast | --sync] [--scale 0.1] [--full] [--profile]
"""

from __future__ import annotations

import sys

from benchmarks import (
    analytics,
    arithmetic,
    executions,
    fires,
    http_requests,
    intervals,
    lists,
    one_instant,
    projector,
    run_latency,
    run_logs,
    schedules,
    startup,
)
from benchmarks.running import main

QUESTIONS = [
    executions.QUESTION,
    one_instant.QUESTION,
    intervals.QUESTION,
    run_latency.QUESTION,
    run_logs.QUESTION,
    fires.QUESTION,
    http_requests.QUESTION,
    schedules.QUESTION,
    projector.QUESTION,
    analytics.QUESTION,
    lists.QUESTION,
    startup.QUESTION,
    arithmetic.QUESTION,
]

if __name__ == "__main__":
    sys.exit(main(QUESTIONS, __doc__))
