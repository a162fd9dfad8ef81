"""`python -m gnomon_api.migrate`: bring the database at `GNOMON_DATABASE_URL` to the current schema, and
exit.

The api does the same when it starts; this is for deployments that want the schema in place before it does.
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
    """Migrate; the exit code: 0 done, 1 the database cannot be migrated, 2 settings that cannot be used."""
    try:
        applied = asyncio.run(migrate(ApiSettings.load(os.environ).database_url))
    except SettingsError as error:
        sys.stderr.write(f"gnomon migrate: {error}\n")
        return 2
    except OSError as error:  # TimeoutError is one
        words = " ".join(str(error).split()) or "no answer in time"
        sys.stderr.write(f"gnomon migrate: cannot reach the Postgres of GNOMON_DATABASE_URL: {words}\n")
        return 1
    except (MigrationError, asyncpg.PostgresError) as error:
        words = " ".join(str(error).split()) or "the database does not answer"
        sys.stderr.write(f"gnomon migrate: {type(error).__name__}: {words}\n")
        return 1
    for name in applied:
        sys.stdout.write(f"applied {name}\n")
    if not applied:
        sys.stdout.write("nothing to do: the database is current\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
