"""Write the golden samples and the list of problem codes, or with `--check` tell which are not current.

    python -m gnomon_schemas.generate [--check]

`schemas/golden/` keeps a stored sample of every message. The tests decode each of them with the Structs of today, so a
change that makes stored messages unreadable fails there. A sample of an old version is kept when a message gets a new
one: rename it to `<name>.v<n>.json`; those are never written here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from gnomon_schemas.codec import encode
from gnomon_schemas.problems import CATALOGUE
from gnomon_schemas.samples import samples

__all__ = ["GOLDEN", "PROBLEMS", "main", "rendered"]

_SCHEMAS = Path(__file__).resolve().parent.parent
GOLDEN = _SCHEMAS / "golden"
PROBLEMS = _SCHEMAS.parent / "docs" / "reference" / "problems.md"

_PROBLEMS_HEAD = """# Problems

Every refusal, over HTTP, NATS or the command line, is an RFC 9457 problem: `type` (`urn:gnomon:problem:<code>`),
`title`, `status`, `detail` (this occurrence in words), `code`, `trace_id`, and `errors` with a `pointer` into the input
(`#/schedule/expression`), a `code` and a `message` for each field at fault. Codes are stable; texts are not.

Written by `python -m gnomon_schemas.generate`.

| code | status | title |
|---|---|---|
"""


def rendered() -> dict[Path, bytes]:
    """Every generated file with the content that it should have."""
    golden = {
        GOLDEN / f"{name}.json": msgspec.json.format(encode(sample), indent=2) + b"\n"
        for name, sample in samples().items()
    }
    rows = [f"| `{code}` | {entry.status} | {entry.title} |" for code, entry in CATALOGUE.items()]
    return {**golden, PROBLEMS: (_PROBLEMS_HEAD + "\n".join(rows) + "\n").encode()}


def main(arguments: list[str]) -> int:
    """Write or check; the exit code: 1 where a file is not current."""
    stale = [path for path, text in rendered().items() if not path.exists() or path.read_bytes() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} is not current: run python -m gnomon_schemas.generate\n")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rendered()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
