"""The body of a new task that names a template: completed by what this process knows of templates and accounts.

Which templates a turn's commands name is looked up before the turn (`object_catalogue`), so that a caller who was told
that a template exists finds it here.
"""

from __future__ import annotations

from gnomon_core.rules.templating import completed_body
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.user_limits import tier_of
from gnomon_scheduler.object_registers import KnownTemplate
from gnomon_schemas.templates import TemplateSpec

__all__ = ["body_of_new_task", "may_set_price"]


def body_of_new_task(command: Command, around: Surroundings) -> bytes:
    """The body of a `create`, completed from the template that it names. Raises Refused."""

    def find(template_id: str) -> TemplateSpec | None:
        known = around.objects.get("template", {}).get(template_id)
        return known.spec if isinstance(known, KnownTemplate) else None

    return completed_body(
        command.data,
        find,
        tier=tier_of(command.user, around),
        may_set_price=may_set_price(command),
        default_timezone=around.default_timezone,
    )


def may_set_price(command: Command) -> bool:
    """Whether the caller may ask other credits for a run than the template does: a service, or an admin."""
    return command.privileged
