"""Templates as callers read them: which there are, and which of them are open to the caller's tier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gnomon_api.account_views import AccountViews
from gnomon_api.database import Database, Row
from gnomon_api.identity import Caller
from gnomon_api.object_history import ObjectChanges, ObjectHistory
from gnomon_api.queries import (
    Filter,
    Lists,
    contains_filter,
    instant_sort,
    parse_list,
    text_filter,
    text_sort,
)
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.accounts import Tier
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.templates import Template, TemplateSpec

__all__ = ["TEMPLATE_LISTS", "TemplatePage", "TemplateView", "TemplateViews"]

_INACTIVE: Final = "include_inactive"


def _level(name: str, text: str) -> int:
    try:
        return Tier(text).rank
    except ValueError as error:
        allowed = ", ".join(tier.value for tier in Tier)
        message = f"is {text[:80]!r}; allowed: {allowed}"
        raise Refused.at(f"#/{name}", message) from error


def _flag(name: str, text: str) -> bool:
    """Whether only active ones are asked for."""
    if text not in ("true", "false"):
        message = f"is {text[:80]!r}; allowed: true, false"
        raise Refused.at(f"#/{name}", message)
    return text == "false"


TEMPLATE_LISTS: Final = Lists(
    columns="template_columns",
    key="template_id",
    filters={
        "subscription_level": Filter(
            "templates_up_to_level", _level, {"type": "string", "enum": [tier.value for tier in Tier]}
        ),
        "category": text_filter("templates_with_category"),
        "task_type": text_filter("templates_with_task_type"),
        "tag": text_filter("templates_with_tag"),
        "q": contains_filter("templates_with_q"),
        _INACTIVE: Filter("templates_with_is_active", _flag, {"type": "boolean", "default": False}),
    },
    sorts={
        "name": text_sort("name"),
        "category": text_sort("category"),
        "created_at": instant_sort("created_at"),
        "updated_at": instant_sort("updated_at"),
        "template_id": text_sort("template_id"),
    },
    default_sort="name",
    always=("templates_present",),
)
"""What lists of templates take."""


class TemplateView(Template, frozen=True, kw_only=True):
    """A template, and whether the caller may use it."""

    available: bool
    """It is active, and open to the caller's subscription level."""


class TemplatePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of templates."""

    items: tuple[TemplateView, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


_decode: Final = msgspec.json.Decoder(Template).decode


class TemplateViews:
    """Reads templates. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, accounts: AccountViews) -> None:
        self._database, self._accounts = database, accounts
        self._history = ObjectHistory(database)

    async def page(self, given: Sequence[tuple[str, str]], caller: Caller) -> TemplatePage:
        """A page of the templates that a query string asks for: those open to the caller's own subscription level
        unless it names one. Raises Refused, also where somebody else than an admin asks for inactive ones."""
        asked = {name for name, _ in given}
        if (_INACTIVE, "true") in given and not caller.admin:
            raise Refused(Code.FORBIDDEN, "inactive templates are shown to the role admin only")
        tier = await self.tier_of(caller.user_id)
        fixed: dict[str, Any] = {}
        if _INACTIVE not in asked:
            fixed[_INACTIVE] = True
        if "subscription_level" not in asked:
            fixed["subscription_level"] = tier.rank
        query = parse_list(TEMPLATE_LISTS, given, fixed)
        page = query.page(await self._database.fetch_page(query.sql, *query.values))
        return TemplatePage(items=tuple(_shown(row, tier) for row in page.rows), next_cursor=page.next_cursor)

    async def get(self, template_id: str, caller: Caller) -> TemplateView:
        """One template. Raises Refused `not_found` where there is none, or it is inactive and the caller no admin."""
        row = await self._row(template_id)
        if row is None or not (row["is_active"] or caller.admin):
            raise Refused(Code.NOT_FOUND, f"there is no template {template_id!r}")
        return _shown(row, await self.tier_of(caller.user_id))

    async def spec(self, template_id: str) -> TemplateSpec | None:
        """What is set of a template; None where there is none."""
        row = await self._row(template_id)
        if row is None:
            return None
        template = _decode(row["template"])
        return TemplateSpec(**{name: getattr(template, name) for name in TemplateSpec.__struct_fields__})

    async def history(self, template_id: str, given: Sequence[tuple[str, str]]) -> ObjectChanges:
        """The changes of a template that was there at some time. Raises Refused."""
        return await self._history.page("template", template_id, given)

    async def tier_of(self, user_id: str) -> Tier:
        """A user's subscription level."""
        return await self._accounts.tier_of(user_id)

    async def _row(self, template_id: str) -> Row | None:
        sql = f"{statement('template_columns')} {statement('template_by_id')}"
        row = await self._database.fetchrow(sql, template_id)
        return None if row is None or row["deleted_at"] is not None else row


def _shown(row: Row, tier: Tier) -> TemplateView:
    template = _decode(row["template"])
    usable = template.is_active and tier.includes(template.required_subscription_level)
    return TemplateView(
        **{name: getattr(template, name) for name in Template.__struct_fields__}, available=usable
    )
