"""Commands about objects: templates, calendars of blackouts, accounts of users, pools.

They are for services and admins. What there is of each is read over HTTP (`GET /templates`, `/calendars`,
`/accounts/{user}`, `/pools`): a list is a question to the read models, which do not speak over NATS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gnomon.commanding import Commanding, incomplete
from gnomon_schemas.accounts import Account, AccountLimits, CreditAccount, CreditKind, Tier, account_id_of
from gnomon_schemas.blackouts import Calendar, CalendarSpec, DeleteCalendar
from gnomon_schemas.commands import Outcome, UpdatePool
from gnomon_schemas.pools import Pool
from gnomon_schemas.templates import DeleteTemplate, Template, TemplateSpec

__all__ = ["ObjectCommands"]

_UNSET = msgspec.UNSET
Unset = msgspec.UnsetType
"""Left out: it stays as it is."""


class ObjectCommands(Commanding):
    """Makes, changes and deletes objects."""

    async def set_account(
        self,
        user_id: str,
        *,
        tier: Tier | None = None,
        limits: AccountLimits | None = None,
        calendar_reminders: bool | None = None,
        closed: bool | None = None,
        closed_note: str | None = None,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Account:
        """Set a user's tier and limits; what is left out stays as it is. Makes the account where there is none.
        `closed` cancels all tasks of the user, and none can be made from then on. For services and admins.
        Raises GnomonError, NotAnswered."""
        given = {
            "tier": tier,
            "limits": limits,
            "calendar_reminders": calendar_reminders,
            "closed": closed,
            "closed_note": closed_note,
        }
        body = {name: value for name, value in given.items() if value is not None}
        account = account_id_of(user_id)
        return _account_of(await self._command("update", account, body, command_id, if_match, kind="account"))

    async def credit_account(
        self,
        user_id: str,
        amount: float,
        *,
        kind: CreditKind = "topup",
        note: str | None = None,
        reference: str | None = None,
        command_id: str | None = None,
    ) -> Account:
        """Give a user credits, once per `command_id`; an `adjustment` may take some back. What was skipped for want of
        credits runs again from then on. As `set_account`."""
        body = CreditAccount(amount=amount, kind=kind, note=note, reference=reference)
        account = account_id_of(user_id)
        return _account_of(await self._command("credit", account, body, command_id, kind="account"))

    async def create_template(
        self, template_id: str, spec: TemplateSpec | Mapping[str, Any], *, command_id: str | None = None
    ) -> Template:
        """Make a template; one that is there just like this stays as it is. For services and admins. Raises
        GnomonError, NotAnswered."""
        return _template_of(await self._command("create", template_id, spec, command_id, kind="template"))

    async def update_template(
        self,
        template_id: str,
        changes: Mapping[str, Any],
        *,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Template:
        """Merge `changes` into a template (RFC 7396), as `create_template`; tasks made from it stay as they are."""
        outcome = await self._command("update", template_id, changes, command_id, if_match, kind="template")
        return _template_of(outcome)

    async def delete_template(
        self, template_id: str, *, if_match: int | None = None, command_id: str | None = None
    ) -> Outcome:
        """Delete a template, as `create_template`; tasks made from it stay as they are."""
        body = DeleteTemplate()
        return await self._command("delete", template_id, body, command_id, if_match, kind="template")

    async def create_calendar(
        self, calendar_id: str, spec: CalendarSpec | Mapping[str, Any], *, command_id: str | None = None
    ) -> Calendar:
        """Make a calendar of blackouts; one that is there just like this stays as it is. For services and admins.

        `selector` of the spec says whose slots it touches, and has to be there: `{}` is those of all tasks. Raises
        GnomonError, NotAnswered.
        """
        return _calendar_of(await self._command("create", calendar_id, spec, command_id, kind="calendar"))

    async def update_calendar(
        self,
        calendar_id: str,
        changes: Mapping[str, Any],
        *,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Calendar:
        """Merge `changes` into a calendar (RFC 7396; its lists are replaced whole), as `create_calendar`. What it put
        off goes when it is over as it is then."""
        outcome = await self._command("update", calendar_id, changes, command_id, if_match, kind="calendar")
        return _calendar_of(outcome)

    async def delete_calendar(
        self, calendar_id: str, *, if_match: int | None = None, command_id: str | None = None
    ) -> Outcome:
        """Delete a calendar, as `create_calendar`: what it put off goes, unless another one holds it."""
        body = DeleteCalendar()
        return await self._command("delete", calendar_id, body, command_id, if_match, kind="calendar")

    async def update_pool(
        self,
        pool: str,
        *,
        max_in_flight: int | Unset | None = _UNSET,
        paused: bool | Unset = _UNSET,
        if_match: int | None = None,
        command_id: str | None = None,
    ) -> Pool:
        """Set how much of a pool may be in flight (None: as much as executors take), and whether it rests; what is left
        out stays as it is. For services and admins. Raises GnomonError, NotAnswered."""
        body = UpdatePool(max_in_flight=max_in_flight, paused=paused)
        outcome = await self._command("update", pool, body, command_id, if_match, kind="pool")
        if outcome.pool is None:
            raise incomplete(outcome, "the pool")
        return outcome.pool


def _account_of(outcome: Outcome) -> Account:
    if outcome.account is None:
        raise incomplete(outcome, "the account")
    return outcome.account


def _calendar_of(outcome: Outcome) -> Calendar:
    if outcome.calendar is None:
        raise incomplete(outcome, "the calendar")
    return outcome.calendar


def _template_of(outcome: Outcome) -> Template:
    if outcome.template is None:
        raise incomplete(outcome, "the template")
    return outcome.template
