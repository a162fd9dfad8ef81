"""The modules of `--tasks`, looked for before anything is started: are they there at all?

Nothing is imported here: that is the executor's to do, in a process of its own, and it tells what goes wrong then.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from gnomon_cli.errors import CliError, UsageError
from gnomon_cli.up.reload import files_of

__all__ = ["check_modules"]


def check_modules(modules: Sequence[str]) -> None:
    """See whether each can be found where an executor would look.

    Raises `UsageError` for a file in place of a module, `CliError` for one that is not found.
    """
    here = Path.cwd()
    for module in modules:
        if module.endswith(".py") or "/" in module:
            name = module.removesuffix(".py").strip("./").replace("/", ".")
            raise UsageError(
                f"--tasks is {module!r}: allowed is the name of a module, not of a file",
                hint=f"--tasks {name}",
            )
        if files_of(module, [*sys.path, str(here)]):
            continue
        beside = sorted(path.stem for path in here.glob("*.py"))
        close = difflib.get_close_matches(module, beside, n=1)
        hint = f"did you mean {close[0]!r}? Else " if close else ""
        raise CliError(
            f"--tasks: there is no module {module!r} in {here}, nor among the installed packages",
            hint=f"{hint}start it in the folder that has {module.partition('.')[0]}.py, or install its package",
        )
