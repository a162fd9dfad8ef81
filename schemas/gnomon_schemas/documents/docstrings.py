"""The text under a field or an enum's member, which says what it means where it is declared."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from functools import cache
from itertools import pairwise

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
        body = _classes(base.__module__)[base.__qualname__].body
        for statement, following in pairwise(body):
            name = _name(statement)
            if name and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                docs[name] = _spoken(str(following.value.value))
    return docs


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module by qualified name. A module is parsed once for all of its classes: an api reads those of
    every Struct when it starts."""
    found: dict[str, ast.ClassDef] = {}
    waiting: list[tuple[str, ast.stmt]] = [
        ("", each) for each in ast.parse(inspect.getsource(sys.modules[module])).body
    ]
    while waiting:
        prefix, statement = waiting.pop()
        if isinstance(statement, ast.ClassDef):
            name = f"{prefix}{statement.name}"
            found[name] = statement
            waiting += [(f"{name}.", each) for each in statement.body]
    return found


def _name(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None


def _spoken(text: str) -> str:
    return re.sub(r"\b(None|True|False)\b", lambda found: _JSON_WORDS[found[0]], " ".join(text.split()))
