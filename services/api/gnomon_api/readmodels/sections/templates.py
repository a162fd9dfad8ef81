"""Templates as their newest event tells them, the deleted ones too."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, indexable_json, json_text, maybe_text, plain_text
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import Mode, TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.templates import Template, TemplateCreated, TemplateDeleted, TemplateUpdated

__all__ = ["TemplateSection"]


class TemplateRow(NamedTuple):
    """A row of `templates`."""

    template_id: str
    name: str
    description: str | None
    category: str
    task_type: str
    level: int
    tags: str
    is_active: bool
    template: str
    version: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    seq: int


_TEMPLATES = TableWrite("templates", TemplateRow._fields, Mode.REPLACE, ("template_id",))


class TemplateSection(Section):
    """The table `templates`. Its events are read for the history of objects already."""

    writes = (_TEMPLATES,)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [
            (TemplateCreated, self._changed),
            (TemplateUpdated, self._changed),
            (TemplateDeleted, self._deleted),
        ]

    @override
    def begin(self) -> None:
        self._rows: dict[str, TemplateRow] = {}

    @override
    def changes(self) -> Iterable[Change]:
        return [(_TEMPLATES, list(self._rows.values()))]

    def _changed(self, stored: Stored, event: TemplateCreated | TemplateUpdated) -> None:
        self._rows[event.template_id] = _row(stored, event.template, event.version, None)

    def _deleted(self, stored: Stored, event: TemplateDeleted) -> None:
        deleted_at = as_instant(event.deleted_at)
        self._rows[event.template_id] = _row(stored, event.template, event.version, deleted_at)


def _row(stored: Stored, template: Template, version: int, deleted_at: datetime | None) -> TemplateRow:
    return TemplateRow(
        template.template_id,
        plain_text(template.name),
        maybe_text(template.description),
        plain_text(template.category),
        template.task_type,
        template.required_subscription_level.rank,
        indexable_json(template.tags),
        template.is_active,
        json_text(template),
        version,
        as_instant(template.created_at),
        as_instant(template.updated_at),
        deleted_at,
        stored.seq,
    )
