"""The ledger over HTTP: expected slots against recorded outcomes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from litestar import get, post

from gnomon_api.auditing import Auditing, AuditReport, Engine
from gnomon_api.http_io import (
    HttpRequest,
    HttpResponse,
    caller,
    checked_id,
    json_response,
    services,
    with_plus,
)
from gnomon_api.repairing import Repairing
from gnomon_api.routes.commands import no_params
from gnomon_core.rules.decoding import refuse
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas.clock_text import EPOCH, parse_instant
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["LEDGER_ROUTES", "audit_ledger", "repair_ledger"]

_DEFAULT_SPAN: Final = timedelta(days=1)
_SPAN_MAX: Final = timedelta(days=366)


@get("/ledger/audit")
async def audit_ledger(request: HttpRequest) -> HttpResponse:
    """Whether every slot that should have been has exactly one recorded outcome."""
    no_params(request, "task_id", "since", "until", "engine")
    return json_response(await _audited(request, _engine(request)))


@post("/ledger/repair", status_code=200)
async def repair_ledger(request: HttpRequest) -> HttpResponse:
    """Audit, and hand what is missing to its tasks' catch-up policies. 202: some shards have not answered yet.

    A slot is touched only where its shard finds, too, that nothing is recorded of it.
    """
    no_params(request, "task_id", "since", "until")
    api, who = services(request), caller(request)
    if not who.admin:
        raise Refused(Code.FORBIDDEN, "the ledger is everybody's: only the role admin may repair it")
    report = await _audited(request, Engine.TIMING)
    repairing = Repairing(api.commander, within=api.settings.write_timeout)
    repaired = await repairing.repair(report, who)
    return json_response(repaired, 202 if repaired.pending else 200)


LEDGER_ROUTES: list[Any] = [audit_ledger, repair_ledger]


async def _audited(request: HttpRequest, engine: Engine) -> AuditReport:
    """The audit that a request asks for. Raises Refused."""
    api, who = services(request), caller(request)
    since, until = _span(request, EPOCH + timedelta(milliseconds=api.clock.now_ms()))
    task_id = request.query_params.get("task_id")
    if task_id is not None:
        # Also one that was deleted: its slots were slots. Whose it is decides what is found.
        checked_id(task_id)
    auditing = Auditing(api.database, api.bus, api.projection, api.settings.partitions)
    try:
        report = await auditing.audit(
            since, until, task_id=task_id, user_id=None if who.admin else who.user_id, engine=engine
        )
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not answer: {error}") from error
    if task_id is not None and not report.tasks:
        raise Refused(Code.NOT_FOUND, f"there is no task {task_id!r} that has or had a schedule")
    return report


def _span(request: HttpRequest, now: datetime) -> tuple[datetime, datetime]:
    """[since, until): until now at the latest, and a day long where nothing else is said. Raises Refused."""
    errors: list[FieldError] = []
    until = min(_instant(request, "until", errors) or now, now)
    since = _instant(request, "since", errors) or until - _DEFAULT_SPAN
    if not errors and since >= until:
        errors.append(_wrong("since", f"{since.isoformat()} is not before until, {until.isoformat()}"))
    elif not errors and until - since > _SPAN_MAX:
        errors.append(_wrong("since", f"lies {(until - since).days} days before until; allowed: 366"))
    refuse(errors)
    return since, until


def _instant(request: HttpRequest, name: str, errors: list[FieldError]) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return parse_instant(with_plus(text))
    except ValueError as error:
        errors.append(_wrong(name, str(error)))
        return None


def _engine(request: HttpRequest) -> Engine:
    text = request.query_params.get("engine", Engine.TIMING)
    if text not in Engine.__members__.values():
        refuse([_wrong("engine", f"{text!r:.80} is no engine; allowed are {', '.join(Engine)}")])
    return Engine(text)


def _wrong(name: str, message: str) -> FieldError:
    return FieldError(pointer=f"#/{name}", code=Code.INVALID, message=message)
