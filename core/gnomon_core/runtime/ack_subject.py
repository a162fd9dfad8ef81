"""What the subject tells on which a delivered message is acknowledged.

    $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
    $JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>.<token>

Newer brokers, and those of a domain, write the second form, and may add to it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CONSUMER", "CONSUMER_SEQ", "DELIVERED", "PENDING", "STREAM_SEQ", "TIME", "ack_fields"]

_SHORT: Final = 9
_LONG: Final = 11
_PREFIX: Final = "$JS.ACK."

CONSUMER: Final = 0
DELIVERED: Final = 1
"""How many times the message has been delivered, this one included."""
STREAM_SEQ: Final = 2
CONSUMER_SEQ: Final = 3
"""Which delivery of its consumer this is: a gap tells that one was lost."""
TIME: Final = 4
"""When the message was stored, in nanoseconds since 1970."""
PENDING: Final = 5
"""How many further messages the consumer has."""


def ack_fields(reply: str) -> list[str]:
    """The fields by the places above, as text: followers read them by the hundred thousand, and no two need all.

    Raises ValueError where no consumer delivered the message.
    """
    tokens = reply.split(".", _LONG) if reply.startswith(_PREFIX) else []
    if len(tokens) == _SHORT:
        return tokens[3:]
    if len(tokens) >= _LONG:
        return tokens[5:_LONG]
    raise ValueError(f"not delivered by a consumer: reply {reply!r}")
