"""The arguments of `gnomon poison`."""

from __future__ import annotations

from typing import Any

from gnomon_cli.parser_flags import verb

__all__ = ["add_poison"]


def add_poison(commands: Any) -> None:
    """Add `gnomon poison` and its verbs."""
    poison = commands.add_parser(
        "poison", help="messages of other services that were set aside: list them, tell one again, drop one"
    )
    verbs = poison.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    verb(verbs, "list", "what was set aside, and why")
    for name, what in (
        ("retry", "tell a message once more, after its cause was mended"),
        ("drop", "forget a message"),
    ):
        verb(verbs, name, what).add_argument("id", metavar="ID", help="as the list shows it")
