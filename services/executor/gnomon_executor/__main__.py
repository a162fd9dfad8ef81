"""`python -m gnomon_executor [--tasks MODULE …] [--pools a,b] [--concurrency N]`: one executor process."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from gnomon_core.runtime.supervisor import Supervisor, run_process
from gnomon_executor.bootstrap import bootstrap
from gnomon_executor.settings import ExecutorSettings

__all__ = ["environment", "main"]


def environment(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the command line's options in it, which go first. Exits with code 2 for unknown
    options."""
    parser = argparse.ArgumentParser(prog="gnomon executor", description="Run tasks.")
    parser.add_argument(
        "--tasks", metavar="MODULE", nargs="+", action="extend", default=[], help="modules with task types"
    )
    parser.add_argument(
        "--pools", metavar="a,b", help="pools to take work of; default: those of the task types"
    )
    parser.add_argument("--concurrency", metavar="N", help="executions at a time; default 100")
    options = parser.parse_args(arguments)
    given = {
        "GNOMON_EXECUTOR_TASKS": ",".join(options.tasks),
        "GNOMON_EXECUTOR_POOLS": options.pools,
        "GNOMON_EXECUTOR_CONCURRENCY": options.concurrency,
    }
    return {**environ, **{name: value for name, value in given.items() if value}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one executor until it is told to stop; the exit code."""
    environ = environment(sys.argv[1:] if arguments is None else arguments, os.environ)

    async def build() -> Supervisor:
        return await bootstrap(ExecutorSettings.load(environ))

    return run_process(build, name="executor")


if __name__ == "__main__":
    # Not `sys.exit`: a handler thread that has not returned must not keep a stopped process alive.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
