"""BR-UPD: how a task is changed."""

from __future__ import annotations

import pytest

from gnomon_schemas.problems import Refused
from gnomon_schemas.tasks import TaskStatus
from tests.harness.deciding import Deciding
from tests.rules.conftest import EVERY_SECOND, create, problem_of


@pytest.mark.parametrize("verb", ["update", "pause", "resume", "cancel", "complete", "delete", "run"])
def test_br_upd_001_only_the_owner_changes_a_task(shard: Deciding, verb: str) -> None:
    """For another user there is no such task; admins and services act for anybody."""
    create(shard)
    with pytest.raises(Refused) as refusal:
        shard.command(verb, user="u2")
    assert problem_of(refusal)[0] == "not_found"
    assert shard.reg.version == 1
    assert shard.command("update", {"name": "by its owner"}, user="u1")
    assert shard.command("update", {"name": "by an admin"}, user="u2", admin=True)
    assert shard.command("update", {"name": "by a service"})
    assert (shard.reg.version, shard.reg.user_id) == (4, "u1")
    assert [event.changed_by for event in shard.events("updated")] == ["u1", "u2", None]
    assert shard.command("delete", user="u2", admin=True)
    (deleted,) = shard.events("deleted")
    assert (deleted.user_id, deleted.deleted_by) == ("u1", "u2")


def test_br_upd_002_the_id_stays(shard: Deciding) -> None:
    """It is ignored on input, so that a read can be sent back."""
    create(shard)
    shard.command("update", {"task_id": "another", "name": "x"})
    assert (shard.reg.task_id, shard.reg.spec.name) == ("t", "x")


def test_br_upd_003_the_type_stays(shard: Deciding) -> None:
    create(shard)
    with pytest.raises(Refused) as refusal:
        shard.command("update", {"task_type": "todo"})
    assert problem_of(refusal) == ("invalid", ["#/task_type"])
    shard.command("update", {"task_type": "echo", "name": "x"})
    assert shard.reg.version == 2


def test_br_upd_004_a_status_follows_the_transitions(shard: Deciding) -> None:
    """What is not in the table is refused with its rule, and changes nothing."""
    create(shard, schedule=EVERY_SECOND)
    for wanted in ("paused", "scheduled", "completed", "scheduled", "cancelled"):
        shard.command("update", {"status": wanted, "description": wanted})
        assert shard.shown().status == wanted
    version = shard.reg.version
    for wanted in ("scheduled", "paused", "completed", "running"):
        with pytest.raises(Refused, match="BR-STS-008"):
            shard.command("update", {"status": wanted})
    assert (shard.reg.version, shard.shown().status) == (version, TaskStatus.CANCELLED)


def test_br_upd_005_every_change_sets_updated_at(shard: Deciding) -> None:
    create(shard, schedule=EVERY_SECOND)
    before = shard.shown().updated_at
    for verb, body in (("update", {"name": "x"}), ("pause", {}), ("resume", {}), ("complete", {})):
        shard.now_ms += 10
        shard.command(verb, body)
        assert shard.shown().updated_at > before
        before = shard.shown().updated_at
    shard.now_ms += 10
    shard.command("update", {"name": "x"})
    assert shard.shown().updated_at == before, "a change that changes nothing is none"


@pytest.mark.parametrize("verb", ["update", "pause", "resume", "cancel", "complete", "delete", "run"])
def test_br_upd_006_a_deleted_task_is_not_changed(shard: Deciding, verb: str) -> None:
    create(shard)
    shard.command("delete")
    with pytest.raises(Refused) as refusal:
        shard.command(verb)
    assert problem_of(refusal)[0] == "not_found"
