"""Commands to a shard: who may, which shard is meant, and for what the word holds."""

from __future__ import annotations

import pytest

from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.decisions.shard_orders import decide_order
from gnomon_scheduler.registers import CatchUpOrder
from gnomon_scheduler.units import Batch, Unit
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import shard_id


def command(
    verb: str,
    object_id: str = "shard-3-0",
    *,
    user: str | None = None,
    admin: bool = False,
    data: bytes = b"",
) -> Command:
    return Command(
        kind="shard",
        verb=verb,
        object_id=object_id,
        command_id="c1",
        user=user,
        admin=admin,
        if_match=None,
        data=data,
        seq=1,
    )


@pytest.mark.parametrize(("user", "admin"), [(None, False), ("u1", True)])
@pytest.mark.parametrize(
    ("verb", "order"),
    [
        ("approve_catch_up", CatchUpOrder(approved_ms=7)),
        ("discard_catch_up", CatchUpOrder(discarded_ms=7)),
    ],
)
def test_a_word_holds_up_to_the_instant_at_which_it_is_decided(
    verb: str, order: CatchUpOrder, user: str | None, admin: bool
) -> None:
    assert decide_order(command(verb, shard_id(3, 8), user=user, admin=admin), 3, 7) == order
    assert decide_order(command(verb, data=b"{}"), 3, 7) == order


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (command("explode"), Code.UNKNOWN_VERB),
        (command("approve_catch_up", user="u1"), Code.FORBIDDEN),
        (command("approve_catch_up", "shard-4-0"), Code.NOT_FOUND),
        (command("approve_catch_up", "shard-3"), Code.NOT_FOUND),
        (command("approve_catch_up", "shard-3-x"), Code.NOT_FOUND),
        (command("approve_catch_up", "t1"), Code.NOT_FOUND),
        (command("discard_catch_up", data=b'{"all":true}'), Code.UNKNOWN_FIELD),
        (command("discard_catch_up", data=b"now"), Code.NOT_JSON),
    ],
    ids=lambda value: value.verb if isinstance(value, Command) else str(value),
)
def test_what_is_no_word_to_this_shard_is_refused(refused: Command, code: Code) -> None:
    with pytest.raises(Refused) as caught:
        decide_order(refused, 3, 7)
    assert caught.value.problem.code == code


def test_a_batch_keeps_the_latest_word_of_each_sort() -> None:
    batch = Batch()
    for order in (
        CatchUpOrder(approved_ms=5),
        CatchUpOrder(discarded_ms=4),
        CatchUpOrder(approved_ms=3),
        None,
    ):
        batch.add(Unit(order=order))
    assert batch.order_after(CatchUpOrder(2, 6)) == CatchUpOrder(5, 6)
    assert Batch().order_after(CatchUpOrder(2, 6)) == CatchUpOrder(2, 6)
