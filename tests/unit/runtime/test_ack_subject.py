"""Both forms of the subject for an acknowledgement tell the same."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.ack_subject import ack_fields

TOLD = "work.2.17.5.1790000000000000000.3"


@pytest.mark.parametrize(
    "reply",
    [
        f"$JS.ACK.TASK_DUE.{TOLD}",
        f"$JS.ACK.hub.ACC.TASK_DUE.{TOLD}",
        f"$JS.ACK._.ACC.TASK_DUE.{TOLD}.token.more",
    ],
)
def test_both_forms_tell_the_same(reply: str) -> None:
    assert ack_fields(reply) == TOLD.split(".")


@pytest.mark.parametrize(
    "reply", ["", "_INBOX.x.1", "$JS.ACK.TASK_DUE", f"$JS.NAK.TASK_DUE.{TOLD}", f"$JS.ACK.a.TASK_DUE.{TOLD}"]
)
def test_what_no_consumer_delivered_is_told(reply: str) -> None:
    with pytest.raises(ValueError, match="not delivered by a consumer"):
        ack_fields(reply)
