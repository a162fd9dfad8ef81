"""Reads of a stream: one message from its leader, many by batched direct get.

Two kinds of read, with different promises:

* **From the leader** (`STREAM.MSG.GET`): sees every write that was acknowledged. One message a request.
* **Direct get**: any replica may answer, and one that lags shows the past. Every answer tells how far that
  replica is (`Nats-UpTo-Sequence`), except when nothing at all matches: then the answer is a bare 404, from
  a lagging replica and from one that is up to date alike. So a caller who must have seen a sequence passes
  `at_least_seq`, and a 404 is believed only with a *witness*: the subject of the stream's last message,
  taken from the leader, is asked for along with the rest; a replica that shows it at `at_least_seq` or later
  is up to date.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gnomon_core.runtime.bus_errors import BusRefused, NoAnswer, NotCommitted
from gnomon_core.runtime.frames import Answer, parse_headers
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.wire import Wire
from gnomon_schemas import headers as h

__all__ = ["StreamReads", "instant_ms"]

_ANSWER_HEADERS = ("Nats-Stream", "Nats-Num-Pending", "Nats-Last-Sequence", "Nats-UpTo-Sequence")
_NO_MESSAGE = 10037
_FILTERS_A_REQUEST = 512
_ROWS_A_REQUEST = 500
_BYTES_A_REQUEST = 8 * 1024 * 1024
_LAG_PAUSE = 0.02
"""Seconds before asking again when a replica that lags has answered."""
_PATIENCE = 10.0
"""Seconds after which a replica that still lags is reported as NoAnswer."""


class _Message(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: str
    data: bytes = b""
    hdrs: bytes = b""


class _ApiError(msgspec.Struct, frozen=True):
    code: int
    err_code: int = 0
    description: str = ""


class _GetAnswer(msgspec.Struct, frozen=True):
    message: _Message | None = None
    error: _ApiError | None = None


_decode_get = msgspec.json.Decoder(_GetAnswer).decode


def instant_ms(text: str) -> int:
    """Epoch milliseconds of the broker's RFC 3339 text, which has up to nine digits of a second."""
    whole, _, rest = text.partition(".")
    digits = rest.rstrip("Z")
    if not digits.isdigit():  # no fraction, or an offset other than Z: rare, so the slow way
        return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
    seconds = datetime.fromisoformat(whole.removesuffix("Z")).replace(tzinfo=UTC).timestamp()
    return int(seconds) * 1000 + int(digits.ljust(3, "0")[:3])


def _stored(message: Answer) -> tuple[Stored, int]:
    """A direct get's answer as a stored message, and the sequence of the answer before it (0 for the
    first)."""
    headers = message.headers
    subject, seq = headers.pop(h.REPUBLISHED_SUBJECT), int(headers.pop(h.REPUBLISHED_SEQUENCE))
    time_ms = instant_ms(headers.pop(h.REPUBLISHED_TIME))
    before = int(headers.get("Nats-Last-Sequence", "0"))
    for name in _ANSWER_HEADERS:
        headers.pop(name, None)
    return Stored(subject, seq, time_ms, headers, message.data), before


class StreamReads:
    """The reads of one connection."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def from_leader(self, stream: str, query: dict[str, Any], timeout: float) -> Stored | None:
        """One message by `{"seq": n}` or `{"last_by_subj": s}`, from the stream's leader; None when there is
        none.

        Raises NoAnswer, BusRefused.
        """
        try:
            answer = await self._wire.request(
                f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(query), timeout=timeout
            )
        except NotCommitted as error:
            raise NoAnswer(str(error)) from None
        if answer.status is not None:
            raise NoAnswer(f"stream {stream} has no leader that answers")
        got = _decode_get(answer.data)
        if got.error is not None:
            if got.error.err_code == _NO_MESSAGE:
                return None
            raise _read_error(stream, got.error)
        if got.message is None:
            return None
        found = got.message
        return Stored(found.subject, found.seq, instant_ms(found.time), parse_headers(found.hdrs), found.data)

    async def multi_last(self, stream: str, filters: Sequence[str], at_least_seq: int) -> list[Stored]:
        """The last message of every subject that matches one of `filters`, by sequence within each request.

        At most 512 filters go into one request; one that matches too much for the server is cut in half and
        asked again. No replica that has not reached `at_least_seq` is believed. Raises NoAnswer when none
        reaches it, and BusRefused when a single filter matches more than the server answers (1,024 subjects).
        """
        found: list[Stored] = []
        for begin in range(0, len(filters), _FILTERS_A_REQUEST):
            found += await self._multi_last(
                stream, list(filters[begin : begin + _FILTERS_A_REQUEST]), at_least_seq
            )
        return found

    async def _multi_last(self, stream: str, filters: list[str], at_least_seq: int) -> list[Stored]:
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        witness: str | None = None
        while True:
            asked = filters if witness is None else [*filters, witness]
            found, reached, status = await self._multi_last_once(stream, asked)
            if status == "413":
                if len(filters) == 1:
                    raise BusRefused(
                        413, 0, f"filter {filters[0]!r} matches more subjects than one read answers"
                    )
                middle = len(filters) // 2
                first = await self._multi_last(stream, filters[:middle], at_least_seq)
                return first + await self._multi_last(stream, filters[middle:], at_least_seq)
            if reached >= at_least_seq:
                if witness is None or witness in filters:
                    return found
                return [message for message in found if message.subject != witness]
            if reached == 0:
                last = await self.from_leader(stream, {"last_by_subj": ">"}, _PATIENCE)
                witness = last.subject if last is not None else None
            if asyncio.get_running_loop().time() > deadline:
                raise NoAnswer(f"no replica of {stream} that answers has reached sequence {at_least_seq}")
            if reached > 0:
                await asyncio.sleep(_LAG_PAUSE)

    async def _multi_last_once(self, stream: str, filters: list[str]) -> tuple[list[Stored], int, str]:
        """(what was found, how far the replicas were, last status): 0 for how far where an answer does not
        tell.

        What exceeds one answer is asked for in further ones, each as of its own moment (asked as of the
        first one's moment, a replica that lags would not tell so): of a subject that was seen twice, the
        later message counts.
        """
        found: dict[str, Stored] = {}
        query: dict[str, Any] = {"multi_last": filters, "max_bytes": _BYTES_A_REQUEST}
        least: int | None = None
        while True:
            rows, end = await self._direct_get(stream, query)
            found.update((row.subject, row) for row in rows)
            status = end.status or ""
            headers = end.headers
            reached = int(headers.get("Nats-UpTo-Sequence", "0"))
            least = reached if least is None else min(least, reached)
            if status != "204" or int(headers.get("Nats-Num-Pending", "0")) == 0:
                return list(found.values()), least, status
            query["seq"] = int(headers["Nats-Last-Sequence"]) + 1

    async def scan(
        self, stream: str, subject: str, start_seq: int, at_least_seq: int
    ) -> AsyncIterator[Stored]:
        """Messages that match `subject`, in order from `start_seq`, without consuming anything.

        Ends when no more are there and a sequence of `at_least_seq` or later has been shown; a replica that
        ends before is asked again from where it ended. Raises NoAnswer when that does not come true in time.
        """
        following, shown = start_seq, 0
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            query = {
                "seq": following,
                "next_by_subj": subject,
                "batch": _ROWS_A_REQUEST,
                "max_bytes": _BYTES_A_REQUEST,
            }
            rows, end = await self._direct_get(stream, query)
            for row in rows:
                yield row
            if rows:
                shown, following = rows[-1].seq, rows[-1].seq + 1
                deadline = asyncio.get_running_loop().time() + _PATIENCE
                if int(end.headers.get("Nats-Num-Pending", "0")) > 0:
                    continue
            if shown >= at_least_seq:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise NoAnswer(
                    f"no replica of {stream} that answers shows sequence {at_least_seq} of {subject}"
                )
            await asyncio.sleep(_LAG_PAUSE)

    async def _direct_get(self, stream: str, query: dict[str, Any]) -> tuple[list[Stored], Answer]:
        """One batched direct get, checked for holes: (rows, closing status). Raises NoAnswer, BusRefused."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while True:
            try:
                answers, end = await self._wire.gather(
                    f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), timeout=_PATIENCE
                )
            except NotCommitted as error:
                raise NoAnswer(str(error)) from None
            status = end.status
            if status == "503" and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_LAG_PAUSE)  # no replica serves just now, as between two leaders
                continue
            if status not in ("204", "404", "413"):
                raise BusRefused(int(status or 0), 0, f"direct get from {stream}: {end.status_text}")
            before, rows = 0, []
            for answer in answers:
                row, told_before = _stored(answer)
                if told_before != before:
                    break
                before = row.seq
                rows.append(row)
            complete = status != "204" or int(end.headers.get("Nats-Last-Sequence", "0")) == before
            if len(rows) == len(answers) and complete:
                return rows, end
            if asyncio.get_running_loop().time() > deadline:
                raise NoAnswer(f"answers to a direct get from {stream} went missing")


def _read_error(stream: str, error: _ApiError) -> Exception:
    if error.code == 503:
        return NoAnswer(f"{stream}: {error.description}")
    return BusRefused(error.code, error.err_code, f"{stream}: {error.description}")
