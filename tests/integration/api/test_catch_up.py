"""Late slots that are held: an operator's word goes to every shard."""

from __future__ import annotations

from gnomon_schemas.subjects import partition_of
from tests.integration.api.conftest import Running
from tests.integration.api.test_http_tasks import API, is_problem


async def test_a_word_goes_to_every_shard(running: Running) -> None:
    partitions = running.api.services.cluster.partitions
    response = await running.http.post(f"{API}/scheduler/catch-up", json={"action": "approve"})
    assert response.status_code == 200, response.text
    assert response.json() == {"action": "approve", "held": 0, "shards": partitions, "pending": []}
    assert sorted(partition_of(one, partitions) for one in running.responder.approved) == list(
        range(partitions)
    )
    refused = await running.http.post(f"{API}/scheduler/catch-up", json={"action": "discard"})
    is_problem(refused, 403, "forbidden")


async def test_shards_that_do_not_answer_are_named(running: Running) -> None:
    running.responder.silent = True
    try:
        response = await running.http.post(f"{API}/scheduler/catch-up", json={"action": "approve"})
    finally:
        running.responder.silent = False
    assert response.status_code == 202, response.text
    told = response.json()
    assert (told["shards"], told["pending"]) == (0, list(range(running.api.services.cluster.partitions)))


async def test_what_is_not_a_word_is_refused(running: Running) -> None:
    before = len(running.responder.heard)
    for body, code in (({"action": "perhaps"}, "invalid"), ({}, "invalid"), ({"act": 1}, "invalid")):
        is_problem(await running.http.post(f"{API}/scheduler/catch-up", json=body), 422, code)
    assert len(running.responder.heard) == before


async def test_a_shard_without_a_leader_says_nothing_of_its_backlog(running: Running) -> None:
    told = (await running.http.get(f"{API}/scheduler")).json()
    assert {shard["catch_up"] for shard in told["shards"]} == {None}
