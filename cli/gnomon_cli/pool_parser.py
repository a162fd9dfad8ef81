"""The arguments of `gnomon pool`."""

from __future__ import annotations

from typing import Any

from gnomon_cli.parser_flags import verb

__all__ = ["add_pool"]


def add_pool(commands: Any) -> None:
    """Add `gnomon pool` and its verbs."""
    pool = commands.add_parser("pool", help="list pools, set how much of one may be in flight, pause one")
    verbs = pool.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    verb(verbs, "list", "the pools there are, and what waits in them")
    setting = verb(verbs, "set", "set how much of a pool may be in flight at a time, over all executors")
    setting.add_argument("pool", metavar="POOL", help="name of the pool")
    limit = setting.add_mutually_exclusive_group()
    limit.add_argument("--max-in-flight", type=int, metavar="N", help="no more than so many")
    limit.add_argument("--no-limit", action="store_true", help="as many as executors take")
    for name, what in (
        ("pause", "hand out nothing of a pool; what runs goes on"),
        ("resume", "hand out its work again"),
    ):
        verb(verbs, name, what).add_argument("pool", metavar="POOL", help="name of the pool")
