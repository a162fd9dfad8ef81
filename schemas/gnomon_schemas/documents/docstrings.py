"""The text under a field or an enum's member, which says what it means where it is declared."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cache

__all__ = ["doc_of", "field_docs"]

_JSON_WORDS = {"None": "null", "True": "true", "False": "false"}


def doc_of(cls: type) -> str:
    """A class's docstring on one line, in the words of JSON; empty where it has none of its own."""
    return _spoken(cls.__dict__.get("__doc__") or "")


@cache
def field_docs(cls: type) -> dict[str, str]:
    """Attribute to the text under it, those of its bases included."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("gnomon"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef), "the source of a class is a class"
        for statement, following in zip(body.body, body.body[1:], strict=False):
            name = _name(statement)
            if name and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                docs[name] = _spoken(str(following.value.value))
    return docs


def _name(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None


def _spoken(text: str) -> str:
    return re.sub(r"\b(None|True|False)\b", lambda found: _JSON_WORDS[found[0]], " ".join(text.split()))
