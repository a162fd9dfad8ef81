"""Reads show what is stored, all of it, and never the past where a sequence must have been reached."""

from __future__ import annotations

import msgspec
import pytest
from typing_extensions import override

from gnomon_core.runtime.bus import Answer, BusRefused, NatsBus, NoAnswer, Outgoing
from gnomon_core.runtime.stream_reads import StreamReads, instant_ms
from gnomon_core.runtime.wire import Wire
from tests.integration.runtime.connecting import fresh, make_stream


@pytest.fixture
async def token(bus: NatsBus) -> str:
    """The first token of the test's subjects."""
    return fresh("t")


@pytest.fixture
async def stream(bus: NatsBus, token: str, replicas: int) -> str:
    """A stream of the test's own."""
    return await make_stream(bus, f"{token}.>", replicas=replicas)


async def fill(bus: NatsBus, subjects: list[str], body: bytes = b"x") -> int:
    """Store one message on each subject; the last sequence."""
    seq = 0
    for begin in range(0, len(subjects), 1000):
        part = [Outgoing(subject, body) for subject in subjects[begin : begin + 1000]]
        seq = (await bus.publish_batch(part, door=False, timeout=20)).seq
    return seq


async def test_a_message_is_read_back_as_it_was_published(bus: NatsBus, stream: str, token: str) -> None:
    """From the leader, by a direct get, and in a scan: subject, time, headers and bytes."""
    ack = await bus.publish(f"{token}.a", b"\x00\xff{}", {"ce-type": "gnomon.x.v1", "Umlaut": "äöü: 1"})
    by_seq = await bus.get(stream, ack.seq)
    [direct] = await bus.multi_last(stream, [f"{token}.*"], at_least_seq=ack.seq)
    [scanned] = [row async for row in bus.scan(stream, f"{token}.>", at_least_seq=ack.seq)]
    assert by_seq == direct == scanned == await bus.last(stream, f"{token}.a")
    assert by_seq is not None
    assert by_seq.headers == {"ce-type": "gnomon.x.v1", "Umlaut": "äöü: 1"}
    assert (by_seq.data, by_seq.subject, by_seq.seq) == (b"\x00\xff{}", f"{token}.a", 1)


async def test_what_is_not_there_is_none(bus: NatsBus, stream: str, token: str) -> None:
    assert await bus.get(stream, 99) is None
    assert await bus.last(stream, f"{token}.none") is None
    assert await bus.multi_last(stream, [f"{token}.none"]) == []
    assert [row async for row in bus.scan(stream, f"{token}.none")] == []
    with pytest.raises(BusRefused, match="stream not found"):
        await bus.last("NO_SUCH_STREAM", "x")


async def test_the_last_of_thousands_of_subjects(bus: NatsBus, stream: str, token: str) -> None:
    """More filters than a request takes, and chain filters that match several subjects each."""
    chains = 1500
    for event in ("queued", "started", "executed"):
        last = await fill(bus, [f"{token}.{event}.{number}" for number in range(chains)])
    literal = await bus.multi_last(stream, [f"{token}.started.{n}" for n in range(chains)], at_least_seq=last)
    assert sorted(row.seq for row in literal) == list(range(chains + 1, 2 * chains + 1))
    wild = await bus.multi_last(
        stream, [f"{token}.*.{number}" for number in range(chains)], at_least_seq=last
    )
    assert sorted(row.seq for row in wild) == list(range(1, 3 * chains + 1))


async def test_a_filter_that_matches_too_much_is_refused_by_name(
    bus: NatsBus, stream: str, token: str
) -> None:
    await fill(bus, [f"{token}.{number}" for number in range(1030)])
    with pytest.raises(BusRefused, match=f"{token}"):
        await bus.multi_last(stream, [f"{token}.*"])


async def test_more_bytes_than_one_answer_holds(bus: NatsBus, stream: str, token: str) -> None:
    """Forty messages of half a megabyte come in several answers, whole and in order."""
    body = b"y" * 500_000
    for number in range(40):
        last = (await bus.publish(f"{token}.{number}", body, timeout=20)).seq
    rows = await bus.multi_last(stream, [f"{token}.*"], at_least_seq=last)
    assert sorted(row.seq for row in rows) == list(range(1, 41))
    assert all(row.data == body for row in rows)
    scanned = [row.seq async for row in bus.scan(stream, f"{token}.>", at_least_seq=last)]
    assert scanned == list(range(1, 41))


async def test_a_scan_reads_a_work_queue_without_consuming_it(bus: NatsBus, replicas: int) -> None:
    """All that matches, in order, over several requests, and again from a place in the middle."""
    token = fresh("q")
    stream = await make_stream(bus, f"{token}.>", replicas=replicas, retention="workqueue")
    last = await fill(bus, [f"{token}.{number % 3}.{number}" for number in range(2400)])
    seen = [row.seq async for row in bus.scan(stream, f"{token}.1.*", at_least_seq=last - 1)]
    assert seen == list(range(2, 2401, 3))
    again = [row.seq async for row in bus.scan(stream, f"{token}.1.*", start_seq=1000, at_least_seq=last - 1)]
    assert again == [seq for seq in seen if seq >= 1000]
    assert (await bus.stream_info(stream)).messages == 2400


async def test_deleting_what_is_gone_between_others(bus: NatsBus, stream: str, token: str) -> None:
    """A message that is gone while ones before and after it are left is not there either: no error."""
    await fill(bus, [f"{token}.{number}" for number in range(4)])
    assert await bus.delete(stream, 2)
    assert not await bus.delete(stream, 2)
    assert await bus.delete(stream, 4)
    assert not await bus.delete(stream, 4)


async def test_deleting_and_purging(bus: NatsBus, stream: str, token: str) -> None:
    """By sequence, with the word whether it was there; by filter below a sequence, which is exclusive."""
    await fill(bus, [f"{token}.a", f"{token}.b", f"{token}.a", f"{token}.b"])
    assert await bus.delete(stream, 1)
    assert not await bus.delete(stream, 1)
    assert not await bus.delete(stream, 999)
    assert await bus.purge(stream, filter=f"{token}.b", up_to_seq=4) == 1
    assert [row.seq async for row in bus.scan(stream, f"{token}.>")] == [3, 4]
    assert await bus.purge(stream, keep=1) == 1
    guarded = await make_stream(bus, f"{fresh('g')}.>", deny_delete=True)
    with pytest.raises(BusRefused, match="not permitted"):
        await bus.delete(guarded, 1)


async def test_a_sequence_that_is_never_reached_is_told(
    bus: NatsBus, stream: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No replica is at sequence 50, so nobody may believe what it says of the first ten."""
    monkeypatch.setattr("gnomon_core.runtime.stream_reads._PATIENCE", 0.5)
    await fill(bus, [f"{token}.{number}" for number in range(10)])
    with pytest.raises(NoAnswer, match="sequence 50"):
        await bus.multi_last(stream, [f"{token}.3"], at_least_seq=50)
    with pytest.raises(NoAnswer, match="sequence 50"):
        await bus.multi_last(stream, [f"{token}.none"], at_least_seq=50)
    with pytest.raises(NoAnswer, match="sequence 50"):
        assert [row async for row in bus.scan(stream, f"{token}.>", at_least_seq=50)]


async def test_nothing_found_is_believed_of_a_replica_that_is_up_to_date(
    bus: NatsBus, stream: str, token: str
) -> None:
    """The broker does not say how far a replica is that finds nothing; the witness does."""
    last = await fill(bus, [f"{token}.{number}" for number in range(10)])
    assert await bus.multi_last(stream, [f"{token}.none"], at_least_seq=last) == []
    seen = await bus.multi_last(stream, [f"{token}.9", f"{token}.none"], at_least_seq=last)
    assert [row.seq for row in seen] == [10]


class PastWire(Wire):
    """Direct gets as a replica that lags would answer them: for some requests, as of an earlier sequence.

    A real replica lags for moments that a test cannot choose. The broker itself answers as of an earlier
    sequence when asked to; where it cannot be asked (reading on by subject), what is later is left out here.
    """

    past = 0
    answers_from_the_past = 0

    @override
    async def gather(self, subject: str, data: bytes, *, timeout: float = 5.0) -> tuple[list[Answer], Answer]:
        if self.answers_from_the_past == 0:
            return await super().gather(subject, data, timeout=timeout)
        self.answers_from_the_past -= 1
        query = msgspec.json.decode(data)
        if "multi_last" in query:
            query["up_to_seq"] = self.past
            return await super().gather(subject, msgspec.json.encode(query), timeout=timeout)
        rows, end = await super().gather(subject, data, timeout=timeout)
        seen = [row for row in rows if int(row.headers["Nats-Sequence"]) <= self.past]
        head = b"NATS/1.0 404 Message Not Found\r\n\r\n"
        if seen:
            last = seen[-1].headers["Nats-Sequence"].encode()
            head = b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: " + last + b"\r\n\r\n"
        return seen, Answer(end.subject, "", head, b"")


async def test_a_replica_that_lags_is_not_believed(bus: NatsBus, stream: str, token: str) -> None:
    """Neither when it shows a part nor when it shows nothing; and without the demand its word would count."""
    last = await fill(bus, [f"{token}.{number}" for number in range(20)])
    wire = PastWire(bus.nc)
    await wire.open()
    reads = StreamReads(wire)

    async def some(at_least_seq: int) -> list[int]:
        return [
            row.seq for row in await reads.multi_last(stream, [f"{token}.{n}" for n in (2, 15)], at_least_seq)
        ]

    async def late(at_least_seq: int) -> list[int]:
        return [row.seq for row in await reads.multi_last(stream, [f"{token}.15"], at_least_seq)]

    async def all_of_them(at_least_seq: int) -> list[int]:
        return [row.seq async for row in reads.scan(stream, f"{token}.*", 1, at_least_seq)]

    for read, past, whole in (
        (some, [3], [3, 16]),
        (late, [], [16]),
        (all_of_them, list(range(1, 11)), list(range(1, 21))),
    ):
        for at_least_seq, expected in ((0, past), (last, whole)):
            wire.past, wire.answers_from_the_past = 10, 2
            assert await read(at_least_seq) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T22:55:17.695009395Z", 1795301717695),
        ("2026-11-21T22:55:17.69Z", 1795301717690),
        ("2026-11-21T22:55:17Z", 1795301717000),
        ("2026-11-21T23:55:17.5+01:00", 1795301717500),
    ],
)
def test_the_brokers_instants(text: str, expected: int) -> None:
    """Up to nine digits, trailing zeros left out, cut to milliseconds."""
    assert instant_ms(text) == expected
