"""Accounts over HTTP: a user's own, and those of all users for admins."""

from __future__ import annotations

from typing import Any, Final

from litestar import get, patch, post, put
from litestar.params import FromPath

from gnomon_api.http_io import (
    ENCODED_SLASH,
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    json_response,
    params_of,
    services,
)
from gnomon_api.identity import check_user_id
from gnomon_api.routes.commands import identity_of, no_params, pending_response, send
from gnomon_core.rules.account_input import parse_credit, parse_update_account
from gnomon_schemas.accounts import Account, account_id_of
from gnomon_schemas.problems import Code, Refused

__all__ = ["ACCOUNT_ROUTES"]

_KIND: Final = "account"


@get("/account")
async def read_own_account(request: HttpRequest) -> HttpResponse:
    """The caller's tier, limits and credits."""
    no_params(request)
    return await _shown(request, caller(request).user_id)


@get("/account/entries")
async def read_own_entries(request: HttpRequest) -> HttpResponse:
    """What the caller's credits were given and consumed for, the newest first."""
    return json_response(
        await services(request).accounts.entries(caller(request).user_id, params_of(request))
    )


@get("/accounts")
async def list_accounts(request: HttpRequest) -> HttpResponse:
    """A page of accounts, by user, as an admin."""
    if not caller(request).admin:
        raise Refused(Code.FORBIDDEN, "accounts of others are shown to the role admin only")
    return json_response(await services(request).accounts.page(params_of(request)))


@get("/accounts/{user:str}")
async def read_account(request: HttpRequest, user: FromPath[str]) -> HttpResponse:
    """A user's tier, limits and credits, as an admin or as that user."""
    no_params(request)
    return await _shown(request, _visible(request, user))


@put("/accounts/{user:str}")
async def put_account(request: HttpRequest, user: FromPath[str]) -> HttpResponse:
    """Set a user's tier and limits, as an admin; what is left out stays as it is. Makes the account where there is
    none."""
    return await _set(request, user)


@patch("/accounts/{user:str}")
async def patch_account(request: HttpRequest, user: FromPath[str]) -> HttpResponse:
    """The same as PUT, which merges too."""
    return await _set(request, user)


@post("/accounts/{user:str}/credits", status_code=200)
async def credit_account(request: HttpRequest, user: FromPath[str]) -> HttpResponse:
    """Give a user credits, as an admin: a top-up, a grant, or an adjustment, which may take some back. What was
    skipped for want of credits runs again from then on."""
    no_params(request)
    user = _user_of(user)
    body = body_of(await request.body())
    parse_credit(body)
    ids = await identity_of(request, body)
    outcome = await send(request, "credit", account_id_of(user), body, ids, kind=_KIND)
    return pending_response(ids) if outcome is None else await _after(request, outcome.account)


@get("/accounts/{user:str}/entries")
async def read_entries(request: HttpRequest, user: FromPath[str]) -> HttpResponse:
    """What a user's credits were given and consumed for, the newest first, as an admin or as that user."""
    return json_response(
        await services(request).accounts.entries(_visible(request, user), params_of(request))
    )


@get("/accounts/{user:str}/history")
async def account_history(request: HttpRequest, user: FromPath[str]) -> HttpResponse:
    """Every change of an account, the newest first, as an admin: who, when, which fields, by which command."""
    if not caller(request).admin:
        raise Refused(Code.FORBIDDEN, "the history of an account is shown to the role admin only")
    user = _user_of(user)
    return json_response(await services(request).accounts.history(user, params_of(request)))


async def _set(request: HttpRequest, user: str) -> HttpResponse:
    no_params(request)
    user = _user_of(user)
    body = body_of(await request.body())
    parse_update_account(body)
    ids = await identity_of(request, body)
    outcome = await send(request, "update", account_id_of(user), body or b"{}", ids, kind=_KIND)
    return pending_response(ids) if outcome is None else await _after(request, outcome.account)


async def _after(request: HttpRequest, account: Account | None) -> HttpResponse:
    """The account after a command: as the command left it, with the balance that the read models have."""
    assert account is not None, "a command to an account is answered with the account"
    seen = await services(request).accounts.with_balance(account)
    return json_response(seen, headers={"ETag": f'"{account.version}"'})


async def _shown(request: HttpRequest, user: str) -> HttpResponse:
    found = await services(request).accounts.get(user)
    return json_response(found, headers={"ETag": f'"{found.version}"'} if found.version else None)


def _user_of(segment: str) -> str:
    """The user that a segment of a path names. Raises Refused."""
    return check_user_id(segment.replace(ENCODED_SLASH, "/"), "user")


def _visible(request: HttpRequest, user: str) -> str:
    user, who = _user_of(user), caller(request)
    if not who.admin and who.user_id != user:
        raise Refused(Code.NOT_FOUND, f"there is no account {user!r}")
    return user


ACCOUNT_ROUTES: list[Any] = [
    read_own_account,
    read_own_entries,
    list_accounts,
    read_account,
    put_account,
    patch_account,
    credit_account,
    read_entries,
    account_history,
]
