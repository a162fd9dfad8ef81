"""Templates: tasks that are set up but for a few fields, and the events that tell of them.

A task is made from a template by `create` with its `template_id`: what the caller leaves out comes from the template.
The task is then on its own: a template that changes or goes changes no task.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_schemas.accounts import Tier
from gnomon_schemas.events import FieldChange
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.tasks import EMPTY_OBJECT

__all__ = [
    "TEMPLATE_SYSTEM_FIELDS",
    "DeleteTemplate",
    "Template",
    "TemplateCreated",
    "TemplateDeleted",
    "TemplateSpec",
    "TemplateUpdated",
]


class TemplateSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """What is set of a template: the body of `template.create`, and what `template.update` merges into."""

    name: str
    """What people call it; the name of a task that is given none."""
    task_type: str
    description: str | None = None
    category: str = "general"
    """What it is grouped by where templates are shown."""
    default_config: msgspec.Raw = EMPTY_OBJECT
    """The config that the caller's is merged into (RFC 7396)."""
    required_fields: tuple[str, ...] = ()
    """What the caller has to give: a field of the task (`schedule`), or a path in its config (`location`, `city.name`;
    `config.name` where the config's field is called like one of the task)."""
    optional_fields: tuple[str, ...] | None = None
    """What the caller may give of the config besides those that are required; None: all of it."""
    config_schema: msgspec.Raw = EMPTY_OBJECT
    """JSON Schema that the merged config has to fit, besides the task type's own."""
    required_subscription_level: Tier = Tier.FREE
    """Users of this tier and of those above it may use the template."""
    credits_per_run: float = 0
    """Of each task that is made from it."""
    tags: tuple[str, ...] = ()
    """Of the template. Tags for the tasks are in `defaults`."""
    is_active: bool = True
    """An inactive template is shown to admins only, and nothing can be made from it."""
    defaults: dict[str, Any] = msgspec.field(default_factory=dict)
    """Other fields of the task, `schedule`, `priority` or `retry` for some, that hold where the caller gives none."""


class DeleteTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`template.delete`: no task can be made from it any more."""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template as everybody reads it. Fields as in `TemplateSpec`, then those that only the system sets."""

    template_id: str
    name: str
    task_type: str
    description: str | None
    category: str
    default_config: msgspec.Raw
    required_fields: tuple[str, ...]
    optional_fields: tuple[str, ...] | None
    config_schema: msgspec.Raw
    required_subscription_level: Tier
    credits_per_run: float
    tags: tuple[str, ...]
    is_active: bool
    defaults: dict[str, Any]
    version: int
    created_at: str
    updated_at: str


TEMPLATE_SYSTEM_FIELDS: frozenset[str] = frozenset(
    {*Template.__struct_fields__, "available"} - {*TemplateSpec.__struct_fields__}
)
"""Fields that only the system sets: ignored on input, so that a read can be sent back."""


class _TemplateEvent(ObjectEvent, frozen=True, kw_only=True):
    """What every event of a template carries."""

    template_id: str
    version: int
    """Of the template after it."""

    @property
    def object_id(self) -> str:
        """See `ObjectEvent`."""
        return self.template_id


class TemplateCreated(_TemplateEvent, frozen=True, kw_only=True, tag="gnomon.template.created.v1"):
    """A template exists."""

    template: Template
    """All of it."""


class TemplateUpdated(_TemplateEvent, frozen=True, kw_only=True, tag="gnomon.template.updated.v1"):
    """A command to a template was accepted."""

    changes: tuple[FieldChange, ...]
    """What is another than before; empty where the command changed nothing."""
    template: Template
    """The template after it."""


class TemplateDeleted(_TemplateEvent, frozen=True, kw_only=True, tag="gnomon.template.deleted.v1"):
    """A template was deleted. Tasks made from it stay as they are."""

    deleted_at: str
    template: Template
    """What it was last."""
