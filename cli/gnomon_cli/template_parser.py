"""The arguments of `gnomon template`."""

from __future__ import annotations

import argparse
from typing import Any

from gnomon_cli.parser_flags import verb
from gnomon_cli.task_parser import add_task_input
from gnomon_schemas.accounts import Tier

__all__ = ["add_template"]

_LEVELS = [str(tier) for tier in Tier]


def add_template(commands: Any) -> None:
    """Add `gnomon template` and its verbs."""
    template = commands.add_parser("template", help="list templates, make tasks from them, keep them")
    verbs = template.add_subparsers(dest="verb", metavar="VERB", title="verbs", required=True)
    listing = verb(verbs, "list", "the templates there are")
    listing.add_argument("--level", choices=_LEVELS, help="open to this subscription level (your own)")
    listing.add_argument("--category", help="or several: daily,work")
    listing.add_argument("--type", metavar="TYPE", help="those that make tasks of this type")
    listing.add_argument("--tag", help="with this tag")
    listing.add_argument("--query", "-q", metavar="TEXT", help="in name, description or tags")
    listing.add_argument("--inactive", action="store_true", help="inactive ones too, for admins")
    listing.add_argument("--sort", metavar="FIELD", help="as category, or -created_at (name)")
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    listing.add_argument("--cursor", help="go on where the last list ended")
    verb(verbs, "show", "one template: what it asks for, and what it brings").add_argument(
        "id", metavar="ID", help="id of the template"
    )
    use = verb(verbs, "use", "make a task from a template; what no flag says comes from the template")
    use.add_argument("template", metavar="TEMPLATE", help="id of the template")
    add_task_input(use)
    create = verb(verbs, "create", "make a template, as an admin")
    create.add_argument(
        "--file", metavar="FILE", required=True, help="a template as JSON (- for standard input)"
    )
    create.add_argument("--id", help="id of your choice: creating the same again changes nothing")
    _add_update(verbs)
    delete = verb(verbs, "delete", "delete templates, as an admin; tasks made from them stay as they are")
    delete.add_argument("ids", nargs="+", metavar="ID", help="ids of templates")
    history = verb(verbs, "history", "every change of a template: who, when, which fields")
    history.add_argument("id", metavar="ID", help="id of the template")
    history.add_argument("--limit", type=int, metavar="N", help="at most so many (50)")
    history.add_argument("--cursor", help="go on where the last list ended")


def _add_update(verbs: Any) -> None:
    update: argparse.ArgumentParser = verb(
        verbs, "update", "change a template, as an admin; what no flag names stays as it is"
    )
    update.add_argument("id", metavar="ID", help="id of the template")
    update.add_argument(
        "--file", metavar="FILE", help="what to change, as JSON (- for standard input); flags go on top"
    )
    update.add_argument("--level", choices=_LEVELS, help="the subscription level that it asks for")
    update.add_argument("--credits", type=float, metavar="N", help="of each run of a task made from it")
    active = update.add_mutually_exclusive_group()
    active.add_argument("--activate", action="store_true", help="tasks can be made from it")
    active.add_argument("--deactivate", action="store_true", help="hide it, and let no task be made from it")
