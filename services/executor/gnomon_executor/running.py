"""The attempts that this process has in hand, found by what others ask for."""

from __future__ import annotations

from collections.abc import Iterator

from gnomon_executor.attempt import Attempt, AttemptKey

__all__ = ["Running"]


class Running:
    """Attempts from their delivery until nothing is left to do for them."""

    def __init__(self) -> None:
        self._attempts: dict[AttemptKey, Attempt] = {}
        self._by_execution: dict[str, Attempt] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._attempts.values()))

    def add(self, attempt: Attempt) -> None:
        """Take an attempt in hand."""
        self._attempts[attempt.key] = attempt
        self._by_execution[attempt.key[0]] = attempt

    def remove(self, attempt: Attempt) -> None:
        """Nothing is left to do for it."""
        self._attempts.pop(attempt.key, None)
        if self._by_execution.get(attempt.key[0]) is attempt:
            del self._by_execution[attempt.key[0]]

    def get(self, key: AttemptKey) -> Attempt | None:
        """The attempt with this key, or None."""
        return self._attempts.get(key)

    def of_execution(self, execution_id: str) -> Attempt | None:
        """The newest attempt of an execution, or None."""
        return self._by_execution.get(execution_id)

    def runs(self, key: AttemptKey, nonce: str) -> bool:
        """Whether the claim that a nonce names is in hand here."""
        attempt = self._attempts.get(key)
        return attempt is not None and attempt.nonce == nonce
