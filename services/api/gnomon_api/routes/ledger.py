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
    params_of,
    services,
)
from gnomon_api.parameters import Parameters
from gnomon_api.repairing import Repairing
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas.clock_text import EPOCH
from gnomon_schemas.problems import Code, Refused

__all__ = ["LEDGER_ROUTES", "audit_ledger", "repair_ledger"]

_DEFAULT_SPAN: Final = timedelta(days=1)
_SPAN_MAX: Final = timedelta(days=366)


@get("/ledger/audit")
async def audit_ledger(request: HttpRequest) -> HttpResponse:
    """Whether every slot that should have been has exactly one recorded outcome."""
    params = Parameters(params_of(request), "task_id", "since", "until", "engine")
    return json_response(await _audited(request, params, _engine(params)))


@post("/ledger/repair", status_code=200)
async def repair_ledger(request: HttpRequest) -> HttpResponse:
    """Audit, and hand what is missing to its tasks' catch-up policies. 202: some shards have not answered yet.

    A slot is touched only where its shard finds, too, that nothing is recorded of it.
    """
    params = Parameters(params_of(request), "task_id", "since", "until")
    api, who = services(request), caller(request)
    if not who.admin:
        raise Refused(Code.FORBIDDEN, "the ledger is everybody's: only the role admin may repair it")
    report = await _audited(request, params, Engine.TIMING)
    repairing = Repairing(api.commander, within=api.settings.write_timeout)
    repaired = await repairing.repair(report, who)
    return json_response(repaired, 202 if repaired.pending else 200)


LEDGER_ROUTES: list[Any] = [audit_ledger, repair_ledger]


async def _audited(request: HttpRequest, params: Parameters, engine: Engine) -> AuditReport:
    """The audit that a request asks for. Raises Refused."""
    api, who = services(request), caller(request)
    since, until = _span(params, EPOCH + timedelta(milliseconds=api.clock.now_ms()))
    task_id = params.text("task_id")
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


def _span(params: Parameters, now: datetime) -> tuple[datetime, datetime]:
    """[since, until): until now at the latest, and a day long where nothing else is said. Raises Refused."""
    until = min(_instant(params, "until") or now, now)
    since = _instant(params, "since") or until - _DEFAULT_SPAN
    if params.right and since >= until:
        params.wrong("since", f"{since.isoformat()} is not before until, {until.isoformat()}")
    elif params.right and until - since > _SPAN_MAX:
        params.wrong("since", f"lies {(until - since).days} days before until; allowed: 366")
    params.refuse()
    return since, until


def _instant(params: Parameters, name: str) -> datetime | None:
    at_ms = params.instant_ms(name)
    return None if at_ms is None else EPOCH + timedelta(milliseconds=at_ms)


def _engine(params: Parameters) -> Engine:
    text = params.text("engine") or Engine.TIMING
    if text not in Engine.__members__.values():
        params.wrong("engine", f"{text!r:.80} is no engine; allowed are {', '.join(Engine)}")
    params.refuse()
    return Engine(text)
