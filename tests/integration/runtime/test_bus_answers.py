"""Every answer of the broker to a publish that can be provoked ends in the error that says what to do."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gnomon_core.runtime.bus import (
    BATCH_MAX,
    BusError,
    BusRefused,
    InProcess,
    NatsBus,
    NotCommitted,
    Outgoing,
    WrongSequence,
)
from gnomon_core.runtime.embedded import EmbeddedNats
from tests.integration.runtime.connecting import fresh, make_stream, open_bus


@pytest.fixture
async def prefix(bus: NatsBus, replicas: int) -> str:
    """Subjects under this token are stored by a stream of the test's own."""
    token = fresh("t")
    await make_stream(bus, f"{token}.>", replicas=replicas)
    return token


async def batch(bus: NatsBus, *messages: Outgoing) -> int:
    """Sequence of the batch's last message."""
    return (await bus.publish_batch(messages, door=False)).seq


async def test_a_publish_tells_where_it_is_stored(bus: NatsBus, prefix: str) -> None:
    """Sequence, stream and no duplicate."""
    first = await bus.publish(f"{prefix}.a", b"1")
    second = await bus.publish(f"{prefix}.a", b"2", {"Nats-Msg-Id": "x"})
    again = await bus.publish(f"{prefix}.a", b"3", {"Nats-Msg-Id": "x"})
    assert (first.seq, second.seq, second.duplicate) == (1, 2, False)
    assert (again.seq, again.duplicate) == (2, True)


async def test_a_batch_is_stored_whole_and_in_order(bus: NatsBus, prefix: str) -> None:
    """Also a batch of one, and the largest there is."""
    ack = await bus.publish_batch([Outgoing(f"{prefix}.a", b"only")], door=False)
    assert (ack.first, ack.seq, ack.count) == (1, 1, 1)
    many = [Outgoing(f"{prefix}.{number % 7}", str(number).encode()) for number in range(BATCH_MAX)]
    ack = await bus.publish_batch(many, door=False)
    assert (ack.first, ack.seq, ack.count) == (2, BATCH_MAX + 1, BATCH_MAX)
    stored = await bus.get(ack.stream, 2 + 555)
    assert stored is not None
    assert (stored.subject, stored.data) == (f"{prefix}.{555 % 7}", b"555")


@pytest.mark.parametrize("count", [0, BATCH_MAX + 1])
async def test_a_batch_of_a_size_that_no_broker_takes_is_not_sent(bus: NatsBus, count: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        await bus.publish_batch([Outgoing("a.b", b"")] * count)


async def test_a_wrong_expectation_tells_the_last_sequence(bus: NatsBus, prefix: str) -> None:
    """Of the subject itself and of a filter, for a publish and for a batch, in any place of it."""
    await bus.publish(f"{prefix}.started.T", b"", expected=0, expected_subject=f"{prefix}.*.T")
    with pytest.raises(WrongSequence) as refused:
        await bus.publish(f"{prefix}.started.T", b"", expected=7)
    assert refused.value.last_seq == 1
    with pytest.raises(WrongSequence) as refused:
        await bus.publish(f"{prefix}.executed.T", b"", expected=0, expected_subject=f"{prefix}.*.T")
    assert refused.value.last_seq == 1
    with pytest.raises(WrongSequence) as refused:
        await bus.publish(f"{prefix}.other", b"", expected=3)
    assert refused.value.last_seq == 0
    plain = Outgoing(f"{prefix}.x", b"")
    wrong = Outgoing(f"{prefix}.y", b"", expected=9, expected_subject=f"{prefix}.*.T")
    for messages in ((wrong, plain), (plain, wrong), (plain, wrong, plain)):
        with pytest.raises(WrongSequence) as refused:
            await batch(bus, *messages)
        assert refused.value.last_seq == 1
    assert (await bus.publish(f"{prefix}.z", b"")).seq == 2


async def test_one_expectation_in_a_batch_is_not_seen_by_the_next(bus: NatsBus, prefix: str) -> None:
    """Both messages expect 0 on the chain and both are stored: one expectation per chain and batch, then."""
    chain = f"{prefix}.*.T"
    first = Outgoing(f"{prefix}.started.T", b"", expected=0, expected_subject=chain)
    second = Outgoing(f"{prefix}.executed.T", b"", expected=0, expected_subject=chain)
    assert await batch(bus, first, second) == 2


async def test_a_register_is_rolled_up_in_a_batch(bus: NatsBus, prefix: str) -> None:
    """Its next expected sequence is that of the batch's first message."""
    register = f"{prefix}.state"
    ack = await bus.publish_batch([Outgoing(register, b"1", expected=0, rollup=True)], door=False)
    messages = [
        Outgoing(register, b"2", expected=ack.first, rollup=True),
        Outgoing(f"{prefix}.event", b"", {"ce-type": "x"}),
    ]
    ack = await bus.publish_batch(messages, door=False)
    assert (ack.first, ack.seq) == (2, 3)
    info = await bus.stream_info(ack.stream)
    assert (info.messages, info.last_seq) == (2, 3)
    last = await bus.last(ack.stream, register)
    assert last is not None
    assert (last.data, last.seq) == (b"2", 2)


async def test_rolling_a_register_up_twice_in_a_batch_is_refused(bus: NatsBus, prefix: str) -> None:
    twice = [Outgoing(f"{prefix}.state", b"", rollup=True)] * 2
    with pytest.raises(BusRefused) as refused:
        await batch(bus, *twice)
    assert refused.value.err_code == 10111


async def test_a_message_id_seen_before_refuses_the_whole_batch(bus: NatsBus, prefix: str) -> None:
    """Inside the batch, or stored earlier: 10201 either way, which repeating does not change."""
    same = Outgoing(f"{prefix}.a", b"", {"Nats-Msg-Id": "same"})
    with pytest.raises(BusRefused) as refused:
        await batch(bus, same, same)
    assert refused.value.err_code == 10201
    await bus.publish(f"{prefix}.a", b"", {"Nats-Msg-Id": "seen"})
    with pytest.raises(BusRefused) as refused:
        await batch(bus, Outgoing(f"{prefix}.a", b"", {"Nats-Msg-Id": "seen"}), Outgoing(f"{prefix}.b", b""))
    assert refused.value.err_code == 10201


async def test_what_the_broker_does_not_know_is_refused_with_its_words(bus: NatsBus, prefix: str) -> None:
    """A lifetime where none is allowed, an expectation without its number, a batch for a stream without
    batches."""
    with pytest.raises(BusRefused, match="TTL is disabled") as refused:
        await bus.publish(f"{prefix}.a", b"", msg_ttl=3)
    assert (refused.value.code, refused.value.err_code) == (400, 10166)
    with pytest.raises(BusRefused, match="missing sequence"):
        await bus.publish(f"{prefix}.a", b"", {"Nats-Expected-Last-Subject-Sequence-Subject": "x.y"})
    other = fresh("n")
    await make_stream(bus, f"{other}.>", allow_atomic=False)
    with pytest.raises(BusRefused, match="atomic publish is disabled"):
        await batch(bus, Outgoing(f"{other}.a", b""))


async def test_no_stream_means_certainly_not_stored(bus: NatsBus) -> None:
    with pytest.raises(NotCommitted, match="no stream takes"):
        await bus.publish(fresh("nowhere."), b"")
    with pytest.raises(NotCommitted, match="no stream takes"):
        await batch(bus, Outgoing(fresh("nowhere."), b""), Outgoing(fresh("nowhere."), b""))


async def test_a_message_larger_than_the_server_takes_is_refused_before_it_is_sent(
    bus: NatsBus, prefix: str
) -> None:
    """The server would close the connection: neither it nor anything else may suffer."""
    generation = bus.generation
    with pytest.raises(BusRefused, match="exceeds the 1048576 allowed"):
        await bus.publish(f"{prefix}.a", b"x" * (1024 * 1024 + 1))
    with pytest.raises(BusRefused, match="exceeds"):
        await batch(bus, Outgoing(f"{prefix}.a", b""), Outgoing(f"{prefix}.b", b"x" * 1024 * 1024))
    assert (await bus.publish(f"{prefix}.a", b"x" * 1024 * 1000)).seq == 1
    assert bus.generation == generation


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 1", "a\tb"])
async def test_a_subject_that_would_be_read_as_something_else_is_not_sent(bus: NatsBus, subject: str) -> None:
    with pytest.raises(ValueError, match="not a subject"):
        await bus.publish(subject, b"")


async def test_a_header_with_a_line_end_is_not_sent(bus: NatsBus, prefix: str) -> None:
    with pytest.raises(ValueError, match="line ends are not allowed"):
        await bus.publish(f"{prefix}.a", b"", {"traceparent": "00\r\nNats-Rollup: all"})


async def test_too_many_open_batches_are_certainly_not_committed(bus: NatsBus, prefix: str) -> None:
    """The broker keeps 50 open per stream. Alone it says so (10210), in a longer batch "incomplete"
    (10176)."""
    for number in range(50):
        headers = {"Nats-Batch-Id": fresh(str(number)), "Nats-Batch-Sequence": "1"}
        await bus.request(f"{prefix}.open", b"", 5.0, headers)
    with pytest.raises(NotCommitted, match="10210"):
        await batch(bus, Outgoing(f"{prefix}.a", b""))
    with pytest.raises(NotCommitted, match="10176"):
        await batch(bus, Outgoing(f"{prefix}.a", b""), Outgoing(f"{prefix}.b", b""))


async def test_a_batch_that_lost_a_message_is_certainly_not_committed(bus: NatsBus, prefix: str) -> None:
    headers = {"Nats-Batch-Id": fresh("b"), "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
    with pytest.raises(NotCommitted, match="10176"):
        await bus.publish(f"{prefix}.a", b"", headers)
    assert (await bus.publish(f"{prefix}.a", b"")).seq == 1


async def outcome(publish: asyncio.Future[object] | asyncio.Task[object]) -> str:
    """What became of a publish, by name."""
    try:
        await publish
    except BusError as error:
        return type(error).__name__
    return "stored"


async def test_racing_claims_have_one_winner_and_losers_who_know_it(
    broker: EmbeddedNats, bus: NatsBus, prefix: str, replicas: int
) -> None:
    """On a cluster many are told "in process" before the winner is applied; nobody is told wrongly."""
    async with open_bus(broker.url) as second:
        seen: Counter[str] = Counter()
        for number in range(60):
            chain = f"{prefix}.*.{number}"
            claims = [
                asyncio.ensure_future(
                    claimant.publish(f"{prefix}.started.{number}", b"", expected=0, expected_subject=chain)
                )
                for claimant in (bus, second, bus, second)
            ]
            outcomes = Counter([await outcome(claim) for claim in claims])
            assert outcomes["stored"] == 1, outcomes
            seen += outcomes
    assert set(seen) <= {"stored", "WrongSequence", "InProcess"}
    assert seen["InProcess"] > 0 if replicas == 3 else seen["InProcess"] == 0


async def test_what_was_in_process_is_decided_when_tried_again(bus: NatsBus, prefix: str) -> None:
    async def claim() -> None:
        while True:
            try:
                await bus.publish(f"{prefix}.started.T", b"", expected=0, expected_subject=f"{prefix}.*.T")
            except InProcess:
                await asyncio.sleep(0.005)
            else:
                return

    claims = [asyncio.ensure_future(claim()) for _ in range(6)]
    outcomes = Counter([await outcome(claim) for claim in claims])
    assert outcomes == {"stored": 1, "WrongSequence": 5}
