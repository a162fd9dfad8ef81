"""Named queries: SQL stays in `.sql` files, each statement with a name and a sentence.

A file under `queries/` holds statements like this, and nothing else:

    -- name: task_by_id
    -- One task, deleted or not.
    select * from tasks where task_id = $1;

They are read once, when the process starts. A name that exists twice, a statement without a sentence, and a
text before the first name are errors at that moment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["FOLDER", "Statement", "parse_statements", "schema_sql", "statement"]

FOLDER = Path(__file__).parent
_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its name, its sentence, its SQL."""

    name: str
    sentence: str
    sql: str


def parse_statements(text: str, source: str) -> dict[str, Statement]:
    """The statements of a file by name. Raises ValueError, naming the source, when the form is not kept."""
    parts = _NAME.split(text)
    if parts[0].strip():
        raise ValueError(f"{source}: there is text before the first `-- name:`")
    found: dict[str, Statement] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"{source}: {name} is there twice")
        lines = body.strip().splitlines()
        sentence = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
        sql = "\n".join(line for line in lines if not line.startswith("--")).strip().removesuffix(";")
        if not sentence or not sql:
            raise ValueError(f"{source}: {name} needs a sentence and a statement")
        found[name] = Statement(name, " ".join(sentence), sql)
    return found


@cache
def _all() -> dict[str, Statement]:
    found: dict[str, Statement] = {}
    for path in sorted((FOLDER / "queries").glob("*.sql")):
        for name, one in parse_statements(path.read_text(encoding="utf-8"), path.name).items():
            if name in found:
                raise ValueError(f"{path.name}: {name} is in another file too")
            found[name] = one
    return found


def statement(name: str) -> str:
    """The SQL of a named statement. Raises KeyError for a name that does not exist."""
    return _all()[name].sql


def schema_sql() -> str:
    """The whole schema, as a fresh database gets it."""
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((FOLDER / "schema").glob("*.sql")))
