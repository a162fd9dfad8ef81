"""What the server sends is read the same however the bytes are cut, and reaches whoever takes it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError

from gnomon_core.runtime.client import NatsClient
from gnomon_core.runtime.frames import Answer, FrameParser, Sink, parse_headers
from gnomon_core.runtime.wire import encode_publish

Taken = list[tuple[str, str, bytes, bytes]]


class Listener:
    """A subscription with a sink, as far as the parser looks at it."""

    def __init__(self, sink: Sink) -> None:
        self._future = sink
        self._received = 0


def parser_into(taken: Taken) -> tuple[FrameParser, NatsClient]:
    """A client that is not connected, with one subscription, number 7."""
    client = NatsClient()
    client._subs[7] = Listener(Sink(lambda *message: taken.append(message)))  # type: ignore[assignment]
    return client._frames, client


def plain_subscription(client: NatsClient) -> asyncio.Queue[Msg]:
    """A subscription of nats-py's own, number 8, with a queue that its reader would read."""
    subscription = Subscription(client, 8, "a.>")
    client._subs[8] = subscription
    return subscription._pending_queue


def message(subject: str, data: bytes, *, reply: str = "", head: bytes = b"", sid: int = 7) -> bytes:
    """A message as the server sends it."""
    target = f"{subject} {sid} {reply}".strip().encode()
    if head:
        return b"HMSG %b %d %d\r\n%b%b\r\n" % (target, len(head), len(head) + len(data), head, data)
    return b"MSG %b %d\r\n%b\r\n" % (target, len(data), data)


HEAD = b"NATS/1.0\r\nA: 1\r\n\r\n"
PARTS = st.lists(
    st.builds(
        message,
        st.sampled_from(["a", "a.b.c", "$JS.ACK.x"]),
        st.binary(max_size=200) | st.just(b"\r\nMSG a 7 3\r\nxyz\r\n"),
        reply=st.sampled_from(["", "_INBOX.1.2"]),
        head=st.sampled_from([b"", HEAD]),
        sid=st.sampled_from([7, 7, 7, 8]),
    )
    | st.sampled_from([b"+OK\r\n", b"PONG\r\n"]),
    max_size=12,
)


@given(PARTS, st.lists(st.integers(1, 400), min_size=1, max_size=20))
async def test_however_the_bytes_are_cut(parts: list[bytes], cuts: list[int]) -> None:
    """In one piece or in many: the same messages in the same order, and nothing for others."""
    whole: Taken = []
    parser, _ = parser_into(whole)
    stream = b"".join(parts)
    await parser.parse(stream)
    pieces: Taken = []
    parser, _ = parser_into(pieces)
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        await parser.parse(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert pieces == whole
    assert len(whole) == sum(part.split()[2] == b"7" for part in parts if b"MSG" in part)


async def test_a_message_comes_whole() -> None:
    taken: Taken = []
    parser, _ = parser_into(taken)
    await parser.parse(message("a.b", b"body\r\n", reply="r", head=HEAD) + message("c", b""))
    assert taken == [("a.b", "r", HEAD, b"body\r\n"), ("c", "", b"", b"")]


@pytest.mark.parametrize(
    ("subject", "heard"), [(b"a.\xff\xfe", "a.\\xff\\xfe"), (b"a.\x0cb", "a.\x0cb"), ("a.ä".encode(), "a.ä")]
)
async def test_a_subject_of_any_bytes_is_read(subject: bytes, heard: str) -> None:
    """The broker takes them from whoever may publish; a connection that cannot read them would be lost by them."""
    taken: Taken = []
    parser, client = parser_into(taken)
    line = b"MSG %b 7 %b 2\r\nxy\r\n" % (subject, subject)
    await parser.parse(line + message("c", b""))
    assert taken == [(heard, heard, b"", b"xy"), ("c", "", b"", b"")]
    plain = plain_subscription(client)
    await parser.parse(line.replace(b" 7 ", b" 8 "))
    assert (await plain.get()).subject == heard


@pytest.mark.parametrize("head", [b"NATS/1.0 \xff\xfe\xfd\r\n\r\n", b"abc", b"NATS/1.0\r\n"])
async def test_headers_that_are_none_end_nothing(head: bytes) -> None:
    parser, client = parser_into([])
    plain = plain_subscription(client)
    await parser.parse(b"HMSG a.b 8 %d %d\r\n%b\r\n" % (len(head), len(head), head))
    await parser.parse(message("a.c", b"", sid=8))
    while (heard := await plain.get()).subject != "a.c":
        assert heard.subject == "a.b"


async def test_a_large_message_in_small_pieces_is_joined_once() -> None:
    """A megabyte in reads of 32 KiB: until all of it is there nothing is copied together."""
    taken: Taken = []
    parser, _ = parser_into(taken)
    frame = message("big", b"x" * 1_000_000)
    for at in range(0, len(frame), 32_768):
        await parser.parse(frame[at : at + 32_768])
    assert len(taken[0][3]) == 1_000_000


async def test_what_was_incomplete_when_the_connection_broke_is_forgotten() -> None:
    taken: Taken = []
    parser, _ = parser_into(taken)
    await parser.parse(message("old", b"x" * 100)[:50])
    parser.reset()
    await parser.parse(message("new", b"y"))
    assert [subject for subject, *_ in taken] == ["new"]


@pytest.mark.parametrize("line", [b"MSG a\r\n", b"MSG a 7 x\r\n", b"HMSG a 7 5\r\n", b"WHAT\r\n"])
async def test_what_makes_no_sense_is_an_error(line: bytes) -> None:
    parser, _ = parser_into([])
    with pytest.raises(ProtocolError):
        await parser.parse(line + b"\r\n")


async def test_an_answer_to_a_ping_that_was_given_up_is_no_error() -> None:
    """nats-py's reading would end over it, and the connection with it."""
    parser, client = parser_into([])
    given_up, waiting = asyncio.get_running_loop().create_future(), asyncio.get_running_loop().create_future()
    given_up.cancel()
    client._pongs = [given_up, waiting]
    await parser.parse(b"PONG\r\n")
    assert not waiting.done()
    await parser.parse(b"PONG\r\n")
    assert waiting.done()


def test_headers_and_statuses() -> None:
    """A status is the server's word, unless there is content: then it is somebody's message."""
    plain = Answer("a", "", b"NATS/1.0\r\nA: 1\r\nB:2 \r\nC: x: y\r\n\r\n", b"")
    assert (plain.status, plain.headers) == (None, {"A": "1", "B": "2", "C": "x: y"})
    gone = Answer("a", "", b"NATS/1.0 503\r\n\r\n", b"")
    assert (gone.status, gone.status_text, gone.headers) == ("503", "", {})
    ended = Answer("a", "", b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 3\r\n\r\n", b"")
    assert (ended.status, ended.status_text) == ("408", "Request Timeout")
    assert ended.headers == {"Nats-Pending-Messages": "3"}
    assert Answer("a", "", b"", b"").status is None
    assert parse_headers(b"") == {}


HEADER_TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)


@given(
    st.text("abcXYZ.*>_-$0", min_size=1, max_size=30),
    st.dictionaries(st.text("abc-ABC", min_size=1, max_size=10), HEADER_TEXT.map(str.strip), max_size=4),
    st.binary(max_size=100),
)
async def test_what_is_sent_is_what_is_read(subject: str, headers: dict[str, str], data: bytes) -> None:
    """A publish, turned into the server's message, comes out as it went in."""
    sent = encode_publish(subject, "", headers, data)
    operation, line, rest = sent[: 4 if headers else 3], *sent.split(b"\r\n", 1)
    assert operation == (b"HPUB" if headers else b"PUB")
    name, sizes = line.split(b" ", 2)[1], line.split(b" ", 2)[2]
    taken: Taken = []
    parser, _ = parser_into(taken)
    await parser.parse((b"HMSG " if headers else b"MSG ") + name + b" 7 " + sizes + b"\r\n" + rest)
    [(got_subject, _, head, got)] = taken
    assert (got_subject, parse_headers(head), got) == (subject, headers, data)
