"""`gnomon scheduler | executor | api | migrate`: one process each, configured by its environment.

The process runs here, in place of the command line: signals, exit code and logs are its own. Flags of the
command become variables of the environment, so that there is one way only to configure a process.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import runpy
import sys
from collections.abc import MutableMapping

from gnomon_cli.errors import OK, CliError

__all__ = ["executor_environment", "run_process"]

_MODULES = {
    "scheduler": "gnomon_scheduler",
    "executor": "gnomon_executor",
    "api": "gnomon_api",
    "migrate": "gnomon_api.migrate",
}


def run_process(options: argparse.Namespace) -> int:
    """Become the process that the command names. Ends as that process ends."""
    if options.command == "executor":
        executor_environment(options, os.environ)
    module = _MODULES[options.command]
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise CliError(
            f"the package {package} is not installed here",
            hint="run `make install`, or install gnomon-server",
        )
    # What the process sees as its own arguments: none.
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return OK


def executor_environment(options: argparse.Namespace, environ: MutableMapping[str, str]) -> None:
    """Put the flags of `gnomon executor` into the environment; a flag wins over a variable."""
    if options.tasks:
        environ["GNOMON_EXECUTOR_TASKS"] = ",".join(options.tasks)
    if options.pools:
        environ["GNOMON_EXECUTOR_POOLS"] = options.pools
    if options.concurrency is not None:
        environ["GNOMON_EXECUTOR_CONCURRENCY"] = str(options.concurrency)
