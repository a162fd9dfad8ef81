"""What shards say to each other of many users or keys, in as many messages as it takes.

A server takes no message above 1 MiB. After a take-over a shard may have a word about each of thousands; a leader that
could not say it would end in that turn, and so would its successor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from gnomon_schemas.codec import encode

__all__ = ["in_messages"]

_BYTES_MAX: Final = 512 * 1024
_Word = TypeVar("_Word")


def in_messages(
    words: Sequence[_Word], message: Callable[[tuple[_Word, ...]], msgspec.Struct]
) -> Iterator[bytes]:
    """The words, in order, as the payloads of one message or of more; `message` makes one of some of them."""
    data = encode(message(tuple(words)))
    if len(data) <= _BYTES_MAX or len(words) == 1:
        yield data
        return
    middle = len(words) // 2
    yield from in_messages(words[:middle], message)
    yield from in_messages(words[middle:], message)
