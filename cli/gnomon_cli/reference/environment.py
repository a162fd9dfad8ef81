"""The page of environment variables, from the settings themselves, like `.env.example`."""

from __future__ import annotations

from gnomon_cli.env_example import SETTINGS
from gnomon_core.runtime.settings import documented
from gnomon_schemas.documents.pages import table

__all__ = ["environment_page"]

_HEAD = """# Environment

Every process is configured by environment variables. A value that is not allowed stops it with the variable's name, the
value and what is allowed; an empty one counts as not set. `.env.example` has the same to copy from.

Written by `python -m gnomon_cli.reference`.
"""


def environment_page() -> str:
    """Every variable."""
    parts = [_HEAD]
    for title, docs in documented(SETTINGS).items():
        rows = (
            [
                f"`{doc.variable}`",
                " ".join(doc.meaning.split()),
                doc.allowed,
                f"`{doc.default}`" if doc.default else "",
            ]
            for doc in docs
        )
        parts.append(f"## {title}\n\n{table(('variable', 'meaning', 'allowed', 'default'), rows)}")
    return "\n".join(parts)
