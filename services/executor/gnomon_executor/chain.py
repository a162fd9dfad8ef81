"""An execution's chain, and what its last event tells an executor to do.

Terms. The *chain* is the events under `task.*.<p>.<task_id>.<run>`; each is published expecting the sequence
of the one before it, so of several writers exactly one is stored and the others are told. `cause_seq` is the
chain's last sequence when the due was emitted. A *nonce* names one attempt in one process: it is in the
`started` that claims, so a process recognises its own claim even when the answer to it was lost.

Everything here is pure. `claim_row` and `result_row` are the claim table, one named member of `Row` for each
of its rows; `claims` and `attempt` carry out what the row says.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from gnomon_core.runtime.messages import Stored
from gnomon_schemas import headers as h
from gnomon_schemas.events import TERMINAL
from gnomon_schemas.subjects import parse_event

__all__ = ["ChainEnd", "Row", "Taken", "chain_end", "claim_row", "result_row", "taken_row"]


class Row(Enum):
    """The rows of the claim table: what stands last on the chain, as this executor sees it."""

    UNCLAIMED = "nothing newer than cause_seq: claim, expecting what is last"
    MINE = "a nonce of mine for this attempt: it was stored and the answer lost, go on"
    RUNNING_HERE = "started by this process, which is running it: adopt the delivery, no second run"
    DROPPED_HERE = "started by this process, which is not running it: started on top"
    OVER = "any terminal, a later retrying, or gone and not a first attempt: ack, nothing else"
    ANOTHERS = "started by another: ask it"
    GIVEN_BACK = "started by another that stopped and gave it back: started on top, no take-over"
    TAKEN_FROM_ME = "another's started when my result is refused: drop the result, send nothing"
    RECORDED = "my own result: it was stored and the answer lost"


class Taken(Enum):
    """What becomes of an attempt that another executor has claimed, after asking it."""

    LEAVE = "it answers that it is running: nak with a delay of the ack wait"
    TAKE_OVER = "it does not answer: started on top, one take-over more"
    CRASH_LOOP = "it does not answer and the attempt has used up its take-overs: executed(failed, crash_loop)"


class _StartedView(msgspec.Struct, frozen=True):
    """What of a `started` (or any other) event the table looks at. Tolerant: any version of any event
    fits."""

    attempt: int = 0
    executor: str | None = None
    nonce: str = ""
    takeovers: int = 0
    released: bool = False
    started_at: str = ""
    first_started_at: str = ""


class ChainEnd(msgspec.Struct, frozen=True):
    """The last event of a chain."""

    name: str
    """`started`, `executed`, …"""
    seq: int
    msg_id: str
    """Its `Nats-Msg-Id`; empty where it has none."""
    attempt: int
    executor: str | None
    nonce: str
    takeovers: int
    released: bool
    started_at: str
    first_started_at: str
    """Of a `retrying`: when the first attempt started."""


_decode_view = msgspec.json.Decoder(_StartedView).decode
_CLAIM: Final = "started"
_RETRY: Final = "retrying"


def chain_end(stored: Stored | None) -> ChainEnd | None:
    """The chain's last message taken apart; None for an empty chain.

    A body that cannot be read leaves only the subject and the sequence to go by, which is enough for every
    row but those of `started`: such a one counts as another's, by an executor that nobody can ask.
    """
    if stored is None:
        return None
    try:
        view = _decode_view(stored.data)
    except msgspec.DecodeError:
        view = _StartedView()
    return ChainEnd(
        name=parse_event(stored.subject).name,
        seq=stored.seq,
        msg_id=stored.headers.get(h.MSG_ID, ""),
        attempt=view.attempt,
        executor=view.executor,
        nonce=view.nonce,
        takeovers=view.takeovers,
        released=view.released,
        started_at=view.started_at,
        first_started_at=view.first_started_at,
    )


def claim_row(
    last: ChainEnd | None, *, cause_seq: int, attempt: int, me: str, nonce: str, running: bool
) -> Row:
    """The row for a claim that was refused, or whose answer was lost.

    `me` is this executor's id, `running` whether this process is running the very claim that stands last.
    """
    if last is None:
        # The log is kept for as long as a due of it exists, so a first attempt finds nothing only if nothing
        # was there.
        return Row.UNCLAIMED if attempt == 1 else Row.OVER
    if last.name in TERMINAL:
        return Row.OVER
    if last.seq <= cause_seq:
        return Row.UNCLAIMED
    if last.name == _RETRY or last.attempt > attempt:
        return Row.OVER
    if last.name != _CLAIM:
        return Row.UNCLAIMED
    if last.nonce == nonce:
        return Row.MINE
    if last.executor == me:
        return Row.RUNNING_HERE if running else Row.DROPPED_HERE
    return Row.GIVEN_BACK if last.released else Row.ANOTHERS


def taken_row(answers_running: bool, last: ChainEnd, limit: int) -> Taken:
    """What to do with another's claim, once it has been asked. `limit` is how many take-overs an attempt may
    have."""
    if answers_running:
        return Taken.LEAVE
    return Taken.CRASH_LOOP if last.takeovers >= limit else Taken.TAKE_OVER


def result_row(last: ChainEnd | None, *, claim_seq: int, nonce: str, msg_id: str) -> Row:
    """The row for a result that was refused, or whose answer was lost. `claim_seq` is that of one's own
    `started`."""
    if last is None:
        return Row.OVER
    if last.msg_id == msg_id:
        return Row.RECORDED
    if last.seq == claim_seq or last.nonce == nonce:
        return Row.MINE
    if last.name == _CLAIM:
        return Row.TAKEN_FROM_ME
    return Row.OVER
