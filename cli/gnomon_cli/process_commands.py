"""`gnomon scheduler | executor | api | migrate | verify`: one process each, configured by its environment.

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
from gnomon_cli.target import DEFAULT_DATA
from gnomon_cli.up.run_file import RunFileError, read_run_file

__all__ = ["executor_environment", "run_process"]

_MODULES = {
    "scheduler": "gnomon_scheduler",
    "executor": "gnomon_executor",
    "api": "gnomon_api",
    "migrate": "gnomon_api.migrate",
    "verify": "gnomon_api.verify",
}


def run_process(options: argparse.Namespace) -> int:
    """Become the process that the command names. Ends as that process ends."""
    if options.command == "executor":
        executor_environment(options, os.environ)
    arguments = _verify_arguments(options, os.environ) if options.command == "verify" else []
    module = _MODULES[options.command]
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise CliError(
            f"the package {package} is not installed here",
            hint="run `make install`, or install gnomon-server",
        )
    # What the process sees as its own arguments.
    sys.argv = [module, *arguments]
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


def _verify_arguments(options: argparse.Namespace, environ: MutableMapping[str, str]) -> list[str]:
    """The flags that `verify` takes itself. Where Postgres is goes into the environment. Raises CliError."""
    # A folder that was named on the command line is meant more than a variable set long ago.
    if options.data is not None or not environ.get("GNOMON_DATABASE_URL"):
        folder = options.data or DEFAULT_DATA
        try:
            environ["GNOMON_DATABASE_URL"] = read_run_file(folder).database_url
        except FileNotFoundError:
            raise CliError(
                f"no Postgres is known here: there is no {folder / 'run.json'}",
                hint="set GNOMON_DATABASE_URL, or name the folder of a `gnomon up` with --data DIR",
            ) from None
        except RunFileError as error:
            raise CliError(str(error), hint="set GNOMON_DATABASE_URL") from None
    return [flag for flag, given in (("--swap", options.swap), ("--json", options.json)) if given]
