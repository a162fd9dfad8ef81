"""`python -m gnomon_api.migrate`: brings the database of `GNOMON_DATABASE_URL` to this version's schema, and ends.

The api does the same at its start. This is for those who want it done before, or by a database user of more rights.
Exit codes: 0 done, 1 not possible, 2 a setting cannot be used; the last two are told in one line.
"""

from __future__ import annotations

import asyncio
import os
import sys

import asyncpg

from gnomon_api.readmodels.migrate import MigrationError, migrate
from gnomon_api.settings import ApiSettings
from gnomon_core.runtime.settings import SettingsError

__all__ = ["main"]


def main() -> int:
    """Migrate; the exit code."""
    try:
        settings = ApiSettings.load(os.environ)
    except SettingsError as error:
        return _refuse(str(error), 2)
    try:
        applied = asyncio.run(migrate(settings.database_url))
    except (MigrationError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        return _refuse(str(error) or "the database does not answer", 1)
    sys.stdout.write(
        "".join(f"applied {name}\n" for name in applied) or "nothing to do: the database is current\n"
    )
    return 0


def _refuse(words: str, code: int) -> int:
    sys.stderr.write(f"gnomon migrate: {words}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
