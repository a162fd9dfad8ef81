"""Templates over HTTP: listed, kept by admins, and made into tasks."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import delete, get, patch, post, put
from litestar.params import FromPath

from gnomon_api.http_io import (
    API,
    HttpRequest,
    HttpResponse,
    body_of,
    caller,
    checked_id,
    chosen_id,
    json_response,
    params_of,
    services,
)
from gnomon_api.routes.commands import identity_of, no_params, pending_response, send
from gnomon_api.routes.tasks import make_task
from gnomon_core.rules.decoding import read_object
from gnomon_core.rules.template_input import check_template_patch, parse_template
from gnomon_schemas.commands import Outcome
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.templates import DeleteTemplate

__all__ = ["TEMPLATE_ROUTES"]

_KIND: Final = "template"
_ID: Final = "template_id"


@get("/templates")
async def list_templates(request: HttpRequest) -> HttpResponse:
    """A page of the templates that a subscription level may use: the caller's own unless `subscription_level` names
    one. Inactive ones are shown to admins, with `include_inactive=true`."""
    return json_response(await services(request).templates.page(params_of(request), caller(request)))


@post("/templates")
async def create_template(request: HttpRequest) -> HttpResponse:
    """Make a template, as an admin; under an id of the caller's choice where the body names one."""
    no_params(request)
    body = body_of(await request.body())
    parse_template(body)
    chosen = chosen_id(body, _ID)
    ids = await identity_of(request, body, task_id=chosen or "")
    template_id = chosen or ids.object_id
    outcome = await send(request, "create", template_id, body, ids, kind=_KIND)
    if outcome is None:
        return pending_response(ids)
    made = outcome.created or (outcome.replayed and ids.keyed)
    return _template_response(outcome, 201 if made else 200, {"Location": f"{API}/templates/{template_id}"})


@get("/templates/{template_id:str}")
async def read_template(request: HttpRequest, template_id: FromPath[str]) -> HttpResponse:
    """One template, and whether the caller may use it."""
    no_params(request)
    found = await services(request).templates.get(checked_id(template_id, _ID), caller(request))
    return json_response(found, headers={"ETag": f'"{found.version}"'})


@patch("/templates/{template_id:str}")
async def patch_template(request: HttpRequest, template_id: FromPath[str]) -> HttpResponse:
    """Change a template by a merge patch, as an admin. Tasks made from it stay as they are."""
    return await _change(request, template_id)


@put("/templates/{template_id:str}")
async def put_template(request: HttpRequest, template_id: FromPath[str]) -> HttpResponse:
    """Change a template by a merge patch, as an admin: PUT merges too, so that clients need not know every field."""
    return await _change(request, template_id)


@delete("/templates/{template_id:str}", status_code=200)
async def delete_template(request: HttpRequest, template_id: FromPath[str]) -> HttpResponse:
    """Delete a template, as an admin. Tasks made from it stay as they are."""
    no_params(request)
    ids = await identity_of(request, b"")
    payload = msgspec.json.encode(DeleteTemplate())
    outcome = await send(request, "delete", checked_id(template_id, _ID), payload, ids, kind=_KIND)
    return pending_response(ids) if outcome is None else HttpResponse(b"", status_code=204)


@get("/templates/{template_id:str}/history")
async def template_history(request: HttpRequest, template_id: FromPath[str]) -> HttpResponse:
    """Every change of a template, the newest first, as an admin: who, when, which fields, by which command."""
    checked_id(template_id, _ID)
    if not caller(request).admin:
        raise Refused(Code.FORBIDDEN, "the history of a template is shown to the role admin only")
    return json_response(await services(request).templates.history(template_id, params_of(request)))


@post("/templates/{template_id:str}/instantiate")
async def instantiate_template(request: HttpRequest, template_id: FromPath[str]) -> HttpResponse:
    """Make a task from a template: the body is that of a task, and what it leaves out comes from the template. With
    `?dry_run=true` nothing is stored, and the answer tells what would be."""
    checked_id(template_id, _ID)
    given = read_object(body_of(await request.body()) or b"{}")
    named = msgspec.Raw(msgspec.json.encode(template_id))
    if bytes(given.get("template_id", named)) not in (bytes(named), b"null"):
        message = f"is another template than that of the path, {template_id!r}"
        raise Refused.at("#/template_id", message)
    return await make_task(request, msgspec.json.encode({**given, "template_id": named}))


async def _change(request: HttpRequest, template_id: str) -> HttpResponse:
    no_params(request)
    checked_id(template_id, _ID)
    body = body_of(await request.body())
    check_template_patch(body)
    ids = await identity_of(request, body, task_id=template_id)
    outcome = await send(request, "update", template_id, body, ids, kind=_KIND)
    return pending_response(ids) if outcome is None else _template_response(outcome)


def _template_response(
    outcome: Outcome, status: int = 200, headers: dict[str, str] | None = None
) -> HttpResponse:
    if outcome.template is None:
        # Decided before, and gone since: there is no state left to show.
        return HttpResponse(b"", status_code=204)
    etag = {"ETag": f'"{outcome.template.version}"'}
    return json_response(outcome.template, status, {**(headers or {}), **etag})


TEMPLATE_ROUTES: list[Any] = [
    list_templates,
    create_template,
    read_template,
    patch_template,
    put_template,
    delete_template,
    template_history,
    instantiate_template,
]
