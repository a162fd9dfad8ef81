"""The answers of the broker, read rightly.

A publish can end in six ways, and each asks for something else of the caller. Whether the message is stored
is what counts, so the errors are cut along that line and not along the broker's codes:

| error | stored? | what to do |
|---|---|---|
| `WrongSequence` | not by this | another was first, or one's own message whose answer was lost: read |
| `InProcess` | no | another write on the same subject has not been applied yet: try again in 5 ms |
| `NotCommitted` | certainly not | send again |
| `NoAnswer` | unknown, and may still become stored | settle it by a write that excludes it, then read |
| `BusRefused` | no | a fault in the request or the set-up: repeating does not help |
| `NoResponders` | – | nobody listens on the subject of a core request |
"""

from __future__ import annotations

import msgspec

from gnomon_core.runtime.frames import Answer

__all__ = [
    "IN_PROCESS_PAUSE",
    "NO_RESPONDERS",
    "BusError",
    "BusRefused",
    "InProcess",
    "NoAnswer",
    "NoResponders",
    "NotCommitted",
    "PublishAnswer",
    "WrongSequence",
    "publish_answer",
    "publish_error",
]

IN_PROCESS_PAUSE = 0.005
"""Seconds to wait before trying again after `InProcess`."""

NO_RESPONDERS = "503"
"""Status by which the server says that nobody listens."""


class BusError(Exception):
    """Something asked of the broker did not happen, or nobody knows whether it did."""


class WrongSequence(BusError):
    """The last sequence of the subject that was checked is not the expected one; nothing was stored."""

    def __init__(self, last_seq: int | None, description: str) -> None:
        super().__init__(description)
        self.last_seq = last_seq
        """The subject's real last sequence, 0 when it has no message; None when the broker did not say."""


class InProcess(BusError):
    """The subject has a write in process, so the broker decided nothing. Try again in `IN_PROCESS_PAUSE`."""


class NotCommitted(BusError):
    """The message or batch is certainly not stored and will not be. It may be sent again as it is."""


class NoAnswer(BusError):
    """No answer came: it is unknown whether the message is stored, and it may still be stored later."""


class NoResponders(BusError):
    """Nobody listens on the subject of a core request."""


class BusRefused(BusError):
    """The broker refused the request for a reason that repeating does not change."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} (code {code}, error {err_code})")
        self.code = code
        """HTTP-like class of the refusal."""
        self.err_code = err_code
        """The broker's own number for it."""
        self.description = description


_WRONG_LAST_SEQUENCE = 10071
_IN_PROCESS = frozenset(
    {
        10164,  # wrong last sequence, no number: the subject is in process
        10163,  # expected last sequence per subject temporarily unavailable
        10158,  # duplicate message id is in process
    }
)
_NOT_COMMITTED = frozenset(
    {
        10176,  # batch incomplete: a message of it was lost, or it was abandoned
        10210,  # too many batches in flight
        10008,  # JetStream temporarily unavailable
        10009,  # the node asked does not lead the stream any more
        10023,  # insufficient resources: said before anything is stored
    }
)


def publish_error(code: int, err_code: int, description: str) -> BusError:
    """The error for a refused publish, from the three fields of the broker's answer."""
    if err_code == _WRONG_LAST_SEQUENCE:
        _, _, number = description.rpartition(": ")
        return WrongSequence(int(number) if number.isdigit() else None, description)
    if err_code in _IN_PROCESS:
        return InProcess(f"{description} (error {err_code})")
    if err_code in _NOT_COMMITTED:
        return NotCommitted(f"{description} (error {err_code})")
    return BusRefused(code, err_code, description)


class _Refusal(msgspec.Struct, frozen=True):
    code: int
    err_code: int = 0
    description: str = ""


class PublishAnswer(msgspec.Struct, frozen=True):
    """The broker's answer to a publish or to a whole batch, as it comes."""

    stream: str = ""
    seq: int = 0
    count: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


_decode = msgspec.json.Decoder(PublishAnswer).decode


def publish_answer(message: Answer, subject: str) -> PublishAnswer:
    """The broker's answer to a publish on `subject`. Raises what it refused with, or NoAnswer when
    unreadable."""
    if message.status == NO_RESPONDERS:
        raise NotCommitted(f"no stream takes {subject} just now")
    try:
        answer = _decode(message.data)
    except msgspec.DecodeError:
        raise NoAnswer(
            f"the answer to a publish on {subject} makes no sense: {message.data[:200]!r}"
        ) from None
    if answer.error is not None:
        raise publish_error(answer.error.code, answer.error.err_code, answer.error.description)
    return answer
