"""Write the golden samples, or with `--check` tell which are not current.

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
from gnomon_schemas.samples import samples

__all__ = ["GOLDEN", "main", "rendered"]

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def rendered() -> dict[Path, bytes]:
    """Every golden file with the content that it should have."""
    return {
        GOLDEN / f"{name}.json": msgspec.json.format(encode(sample), indent=2) + b"\n"
        for name, sample in samples().items()
    }


def main(arguments: list[str]) -> int:
    """Write or check; the exit code: 1 where a file is not current."""
    stale = [path for path, text in rendered().items() if not path.exists() or path.read_bytes() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} is not current: run python -m gnomon_schemas.generate\n")
        return 1 if stale else 0
    GOLDEN.mkdir(exist_ok=True)
    for path in stale:
        path.write_bytes(rendered()[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
