"""`python -m gnomon_api.verify [--swap] [--json]`: are the read models what the events make of them?

Works on the database at `GNOMON_DATABASE_URL` itself, beside whatever serves it. See `readmodels.rebuild`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from gnomon_api.readmodels.rebuild import RebuildError, Rebuilt, Verified, replace, verify
from gnomon_api.settings import ApiSettings
from gnomon_core.runtime.settings import SettingsError
from gnomon_core.runtime.supervisor import collect_seldom

__all__ = ["main"]

_SAME: Final = {True: "the same", False: "DIFFERENT"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and with `--swap` replace; the exit code: 0 the same, 1 not, or it cannot be done, 2 not understood."""
    parser = argparse.ArgumentParser(prog="gnomon verify")
    parser.add_argument("--swap", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        dsn = ApiSettings.load(os.environ).database_url
        # Folding millions of events makes no cycles.
        collect_seldom()
        found = asyncio.run(verify(dsn))
        swapped = asyncio.run(replace(dsn)) if given.swap else None
    except SettingsError as error:
        sys.stderr.write(f"gnomon verify: {error}\n")
        return 2
    except OSError as error:  # TimeoutError is one
        words = " ".join(str(error).split()) or "no answer in time"
        sys.stderr.write(f"gnomon verify: cannot reach the Postgres of GNOMON_DATABASE_URL: {words}\n")
        return 1
    except (RebuildError, asyncpg.PostgresError) as error:
        sys.stderr.write(f"gnomon verify: {type(error).__name__}: {' '.join(str(error).split())}\n")
        return 1
    text = msgspec.json.format(msgspec.json.encode(_told(found, swapped)), indent=2).decode()
    sys.stdout.write((text if given.json else "\n".join(_lines(found, swapped))) + "\n")
    return 0 if found.same else 1


def _lines(found: Verified, swapped: Rebuilt | None) -> list[str]:
    lines = [
        f"{found.events:,} events folded anew, up to sequence {found.sequence}",
        f"{'table':<16}{'rows':>12}{'rebuilt':>12}",
    ]
    lines += [
        f"{name:<16}{table.live.rows:>12,}{table.rebuilt.rows:>12,}  {_SAME[table.same]}"
        for name, table in found.tables.items()
    ]
    lines += [
        f"event {event.seq} ({event.subject}) is in no table: {event.why}" for event in found.unreadable
    ]
    if swapped is not None:
        lines.append(f"the rebuilt tables are live now, up to sequence {swapped.sequence}")
    elif not found.same:
        lines.append("--swap puts the rebuilt tables in the place of the live ones")
    return lines


def _told(found: Verified, swapped: Rebuilt | None) -> dict[str, Any]:
    return {
        "events": found.events,
        "sequence": found.sequence,
        "same": found.same,
        "tables": {
            name: {
                "same": table.same,
                "live": table.live._asdict(),
                "rebuilt": table.rebuilt._asdict(),
            }
            for name, table in found.tables.items()
        },
        "unreadable": [event._asdict() for event in found.unreadable],
        "swapped": swapped is not None,
    }


if __name__ == "__main__":
    sys.exit(main())
