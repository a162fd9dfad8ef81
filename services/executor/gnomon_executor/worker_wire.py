"""What the executor and its worker processes say to each other, over one socket each.

Frames: four bytes of length, big-endian, then JSON. A worker that reads the end of the stream knows that its
executor is gone and ends at once: nobody would record what it does.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from gnomon_executor.context import AttemptFacts
from gnomon_executor.handler_end import HandlerEnd
from gnomon_executor.handler_log import LogLine

__all__ = [
    "LENGTH",
    "CancelOrder",
    "EndReport",
    "FromWorker",
    "LogReport",
    "ProgressReport",
    "RunOrder",
    "ToWorker",
    "frame",
]

LENGTH: Final = struct.Struct(">I")


class RunOrder(msgspec.Struct, frozen=True, tag="run"):
    """Run one attempt of a task type that is defined in a module."""

    path: list[str]
    """The executor's `sys.path`."""
    module: str
    task_type: str
    config: msgspec.Raw
    facts: AttemptFacts


class CancelOrder(msgspec.Struct, frozen=True, tag="cancel"):
    """Raise the cancel flag of the attempt that runs."""


class ProgressReport(msgspec.Struct, frozen=True, tag="progress"):
    """How far the handler is."""

    fraction: float
    message: str


class LogReport(msgspec.Struct, frozen=True, tag="log"):
    """A line of the handler's log."""

    line: LogLine


class EndReport(msgspec.Struct, frozen=True, tag="end"):
    """The handler ended."""

    end: HandlerEnd


ToWorker = RunOrder | CancelOrder
FromWorker = ProgressReport | LogReport | EndReport

_encoder = msgspec.json.Encoder(enc_hook=repr)


def frame(message: ToWorker | FromWorker) -> bytes:
    """One message as it goes over the socket."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body
