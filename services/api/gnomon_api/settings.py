"""Settings of the api, from the environment."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from gnomon_core.runtime.guarded_http import parse_networks
from gnomon_core.runtime.settings import CommonSettings, Seconds, Setting

__all__ = ["ApiSettings"]


def _postgres_url(text: str) -> bool:
    return text.startswith(("postgresql://", "postgres://"))


def _http_url(text: str) -> bool:
    return not text or text.startswith(("http://", "https://"))


def _networks(text: str) -> bool:
    try:
        parse_networks(text)
    except ValueError:
        return False
    return True


def _plain_subject(text: str) -> bool:
    return not text or _SUBJECT.fullmatch(text) is not None


_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)


class ApiSettings(CommonSettings, frozen=True, kw_only=True):
    """What the api needs besides the common settings."""

    title: ClassVar[str] = "The api"

    database_url: Annotated[
        str,
        Setting(secret=True, check=_postgres_url, allowed="postgresql://user:password@host:port/database"),
    ]
    """Where Postgres is. While it is away writes still work, and reads answer 503."""
    http_host: str = "127.0.0.1"
    """Address to listen on for HTTP."""
    http_port: Annotated[int, Setting(least=0, most=65535)] = 8080
    """Port to listen on for HTTP; 0 takes a free one, which is logged."""
    auth: Annotated[
        str, Setting(choices=("none",), allowed="none; jwt and api_key are not available yet")
    ] = "none"
    """How callers are known. With `none` the user is the `X-User-Id` header, else `local`, and an admin: for
    machines and networks where everybody may do everything."""
    write_timeout: Annotated[Seconds, Setting(least=0.1, most=300)] = 5.0
    """How long a write waits for its outcome before it answers 202."""
    read_your_writes: Annotated[Seconds, Setting(least=0, most=60)] = 1.0
    """How long a write waits, after its outcome, until the read models show it; 0 does not wait."""
    execute_wait: Annotated[Seconds, Setting(least=0, most=3600)] = 300.0
    """The longest `?wait=` of an execution."""
    sse_buffer: Annotated[int, Setting(least=16, most=100_000)] = 2000
    """Events that wait for a slow reader of /events before its connection is cut."""
    ecosystem: Annotated[str, Setting(choices=("on", "bind", "off"), allowed="on, bind or off")] = "on"
    """Whether to listen to other services (`account_service.user.deleted` and the like): on streams of theirs, and
    where there is none on one of ours (`on`); on theirs alone (`bind`), so that none of ours holds a subject that its
    owner wants a stream for; or not at all (`off`)."""
    calendar_lead: Annotated[Seconds, Setting(least=0, most=604_800)] = 900.0
    """How long before a calendar entry begins its reminder comes, for accounts that ask for one."""
    log_retention: Annotated[Seconds, Setting(least=60, most=315_360_000)] = 2_592_000.0
    """How long the lines that handlers log are kept."""
    starting_templates: bool = True
    """Whether the templates of the starting set are made, each once in the life of a cluster."""
    misfits_every: Annotated[Seconds, Setting(least=0, most=86400)] = 60.0
    """How often one api looks whether the schema of a task type has changed, and counts the tasks that do not fit it; 0
    does not."""
    audit_every: Annotated[Seconds, Setting(least=0, most=86400)] = 60.0
    """How often one api audits the ledger by itself; 0 does not."""
    audit_window: Annotated[Seconds, Setting(least=60, most=31_622_400)] = 3600.0
    """How far back each of those audits goes."""
    audit_repair: bool = False
    """Whether that audit also has repaired what it finds missing: each such slot is handed to its task's catch-up
    policy, where its shard, too, finds nothing recorded of it."""
    heartbeat_url: Annotated[
        str, Setting(secret=True, check=_http_url, allowed="http://… or https://…, or nothing")
    ] = ""
    """Asked by GET after each audit that found every slot in order, and at no other time: who watches it for silence
    hears of lost slots, and of Gnomon itself being gone."""
    heartbeat_subject: Annotated[
        str, Setting(check=_plain_subject, allowed="a NATS subject without wildcards, or nothing")
    ] = ""
    """The same on NATS; the message is the audit's report. The api must be permitted to publish there."""
    http_allow: Annotated[
        str, Setting(check=_networks, allowed="networks with commas, such as 10.0.0.0/8,::1/128")
    ] = ""
    """Networks that `http_request` and the heartbeats of tasks may reach besides public addresses."""
    execution_retention: Annotated[Seconds, Setting(least=0, most=3_155_760_000)] = 0.0
    """How long executions that have ended stay in Postgres: they go by whole months (UTC), once the whole month is
    older. What the ledger needs of them stays; 0 keeps them for ever."""
    task_retention: Annotated[Seconds, Setting(least=0, most=3_155_760_000)] = 0.0
    """How long tasks that are deleted, completed, cancelled or failed stay in Postgres, and at least for
    GNOMON_FINISHED_TTL; they go when nothing that they ran is left. 0 keeps them for ever."""
    database_pool: Annotated[int, Setting(least=1, most=200)] = 10
    """Most connections to Postgres for reads; the projector has one more of its own."""
