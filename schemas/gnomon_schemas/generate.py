"""Write every document of the contract, or with `--check` tell which are not current.

    python -m gnomon_schemas.generate [--check]

`schemas/golden/` keeps a stored sample of every message. The tests decode each of them with the Structs of today, so a
change that makes stored messages unreadable fails there. A sample of an old version is kept when a message gets a new
one: rename it to `<name>.v<n>.json`; those are never written here.

`schemas/json/` holds the JSON Schema of every message, `schemas/asyncapi.json` the whole contract over NATS, and
`docs/reference/` pages for people.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from gnomon_schemas.codec import encode
from gnomon_schemas.documents.asyncapi import asyncapi
from gnomon_schemas.documents.json_schema import message_schema
from gnomon_schemas.documents.lifecycle_page import lifecycle_page
from gnomon_schemas.documents.messages import MESSAGES
from gnomon_schemas.documents.pages import events_page, messages_page, problems_page, subjects_page
from gnomon_schemas.documents.rules import rules_page
from gnomon_schemas.samples import samples

__all__ = ["ASYNCAPI", "GOLDEN", "JSON_SCHEMAS", "REFERENCE", "main", "rendered"]

_SCHEMAS = Path(__file__).resolve().parent.parent
GOLDEN = _SCHEMAS / "golden"
JSON_SCHEMAS = _SCHEMAS / "json"
ASYNCAPI = _SCHEMAS / "asyncapi.json"
REFERENCE = _SCHEMAS.parent / "docs" / "reference"


def rendered() -> dict[Path, bytes]:
    """Every generated file with the content that it should have."""
    golden = {GOLDEN / f"{name}.json": _json(sample) for name, sample in samples().items()}
    schemas = {
        JSON_SCHEMAS / f"{message.name}.schema.json": _json(message_schema(message)) for message in MESSAGES
    }
    pages = {
        REFERENCE / "subjects.md": subjects_page(),
        REFERENCE / "messages.md": messages_page(),
        REFERENCE / "events.md": events_page(),
        REFERENCE / "problems.md": problems_page(),
        REFERENCE / "lifecycle.md": lifecycle_page(),
        REFERENCE / "rules.md": rules_page(),
    }
    return {
        **golden,
        **schemas,
        ASYNCAPI: _json(asyncapi()),
        **{path: text.encode() for path, text in pages.items()},
    }


def _json(value: Any) -> bytes:
    return msgspec.json.format(encode(value), indent=2) + b"\n"


def main(arguments: list[str]) -> int:
    """Write or check; the exit code: 1 where a file is not current."""
    wanted = rendered()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_bytes() != text]
    dead = sorted(set(JSON_SCHEMAS.glob("*")) - set(wanted))
    if "--check" in arguments:
        for path in [*stale, *dead]:
            sys.stderr.write(f"{path.name} is not current: run python -m gnomon_schemas.generate\n")
        return 1 if stale or dead else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(wanted[path])
    for path in dead:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
