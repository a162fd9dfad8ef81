"""A read can be sent back: what it shows and only the system sets is ignored, for every kind that callers change."""

from __future__ import annotations

import msgspec
import pytest

from gnomon_api.account_views import AccountView
from gnomon_api.pool_views import PoolView
from gnomon_api.task_details import PastTask
from gnomon_core.rules.account_input import parse_update_account
from gnomon_core.rules.pool_input import parse_pool
from gnomon_core.rules.task_input import check_patch
from gnomon_schemas.accounts import Account, AccountLimits, Tier
from gnomon_schemas.pools import Pool
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import TaskSpec


@pytest.mark.parametrize("shown", [Pool, PoolView])
def test_of_a_pool(shown: type[msgspec.Struct]) -> None:
    read = dict.fromkeys(shown.__struct_fields__, 1) | {"max_in_flight": 3, "paused": True}
    payload = parse_pool(msgspec.json.encode(read))
    assert (payload.max_in_flight, payload.paused) == (3, True)


@pytest.mark.parametrize("shown", [Account, AccountView])
def test_of_an_account(shown: type[msgspec.Struct]) -> None:
    told = {"tier": "pro", "limits": {"max_tasks": 5}, "calendar_reminders": True, "closed": False}
    read = dict.fromkeys(shown.__struct_fields__, 1) | told | {"closed_note": None}
    payload = parse_update_account(msgspec.json.encode(read))
    assert (payload.tier, payload.limits, payload.closed) == (Tier.PRO, AccountLimits(max_tasks=5), False)


def test_of_a_past_state_of_a_task() -> None:
    kept = check_patch(msgspec.json.encode(dict.fromkeys(PastTask.__struct_fields__, 1)))
    assert kept.keys() == set(TaskSpec.__struct_fields__)


def test_a_field_that_nothing_shows_is_refused_all_the_same() -> None:
    for parse in (parse_pool, parse_update_account):
        with pytest.raises(Refused) as refused:
            parse(b'{"colour": 1}')
        assert refused.value.problem.code is Code.UNKNOWN_FIELD
