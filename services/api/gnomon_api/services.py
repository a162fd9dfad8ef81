"""What the routes work with: one object that bootstrap makes and every handler finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gnomon_api.account_views import AccountViews
from gnomon_api.analytics_queries import Analytics
from gnomon_api.calendar_views import CalendarViews
from gnomon_api.cluster import Cluster
from gnomon_api.commander import Commander
from gnomon_api.database import Database
from gnomon_api.event_hub import EventHub
from gnomon_api.execution_views import ExecutionViews
from gnomon_api.idempotency import Requests
from gnomon_api.measures import ApiMeasures
from gnomon_api.misfits import Misfits
from gnomon_api.planning import Planner
from gnomon_api.projection import Projection
from gnomon_api.run_log_views import RunLogViews
from gnomon_api.settings import ApiSettings
from gnomon_api.task_views import TaskViews
from gnomon_api.template_views import TemplateViews
from gnomon_api.user_limits import UserLimits
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.health import Check
from gnomon_core.runtime.metrics import Meter

__all__ = ["ApiServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """The collaborators of one api process."""

    settings: ApiSettings
    version: str
    bus: NatsBus
    clock: Clock
    database: Database
    commander: Commander
    requests: Requests
    projection: Projection
    tasks: TaskViews
    templates: TemplateViews
    accounts: AccountViews
    limits: UserLimits
    calendars: CalendarViews
    misfits: Misfits
    planner: Planner
    executions: ExecutionViews
    analytics: Analytics
    run_logs: RunLogViews
    hub: EventHub
    cluster: Cluster
    meter: Meter
    measures: ApiMeasures
    required: Mapping[str, Check]
    """What must be right for the process to be ready."""
    degraded: Mapping[str, Check]
    """What is told, and does not make it unready: writes work without it."""
