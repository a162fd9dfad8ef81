"""Late slots that wait for an operator's word, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

import msgspec
from litestar import post

from gnomon_api.http_io import HttpRequest, HttpResponse, body_of, json_response, services
from gnomon_api.routes.commands import identity_of, no_params, send
from gnomon_core.rules.decoding import parse_body
from gnomon_core.runtime.bus_errors import BusError
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import shard_id

__all__ = ["CATCH_UP_ROUTES", "CatchUpAnswer", "CatchUpInput"]

_VERBS: Final = {"approve": "approve_catch_up", "discard": "discard_catch_up"}


class CatchUpInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to become of the late slots that are held."""

    action: Literal["approve", "discard"]
    """`approve`: they run, at the cluster's catch-up rate; `discard`: they are `missed(catch_up_skip)`."""


class CatchUpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided."""

    action: Literal["approve", "discard"]
    held: int
    """Late slots that were held when it was asked, as the shards told."""
    shards: int
    """Shards that have decided it."""
    pending: tuple[int, ...]
    """Partitions whose shards had not answered in time; the command waits for them."""


@post("/scheduler/catch-up", status_code=200)
async def decide_catch_up(request: HttpRequest) -> HttpResponse:
    """Let the late slots that are held run, or record them as missed: in every shard, for what is held by now. 202: the
    commands are stored, and some shards have not answered yet."""
    no_params(request)
    body = body_of(await request.body())
    wanted = parse_body(body, CatchUpInput)
    cluster = services(request).cluster
    try:
        told = await cluster.schedulers()
    except BusError as error:
        raise Refused(Code.UNAVAILABLE, f"NATS does not answer: {error}") from error

    async def ask(partition: int) -> bool:
        ids = await identity_of(request, body, index=partition)
        object_id = shard_id(partition, cluster.partitions)
        outcome = await send(
            request, _VERBS[wanted.action], object_id, b"{}", ids, kind="shard", matching=False
        )
        return outcome is not None

    decided = await asyncio.gather(*(ask(partition) for partition in range(cluster.partitions)))
    pending = tuple(partition for partition, done in enumerate(decided) if not done)
    answer = CatchUpAnswer(
        action=wanted.action,
        held=sum(shard.catch_up.held for shard in told.shards if shard.catch_up is not None),
        shards=sum(decided),
        pending=pending,
    )
    return json_response(answer, 202 if pending else 200)


CATCH_UP_ROUTES: list[Any] = [decide_catch_up]
