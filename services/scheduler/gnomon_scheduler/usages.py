"""What users have used in a shard, in memory: `state.usage.<q>.<account>` registers, and what is folded into them.

A standby takes registers over as they come. A leader folds `task.executed` into them, whatever has become of the task,
and hands in what changed with its next batch. The fold position of the shard stays before the oldest event whose
effect is in no stored register (`dirty_from`), so that a successor folds it again.

A register that cannot be read (of a newer version) is *set aside*: what its user has used here is not known, so nothing
that has a price or counts is let go (`user_doors`), and nothing is stored over it. What ends meanwhile is not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

import msgspec

from gnomon_scheduler.budget_registers import UsageRegister
from gnomon_scheduler.decisions.usage import counts, use
from gnomon_schemas import subjects
from gnomon_schemas.accounts import account_id_of
from gnomon_schemas.codec import encode
from gnomon_schemas.events import Executed

__all__ = ["UnsavedUsage", "Usages"]


class UnsavedUsage(NamedTuple):
    """A register that is to be stored."""

    subject: str
    data: bytes
    stored: Callable[[int], None]
    """To be told its sequence."""


class Usages:
    """The usage of every user who has used something in one partition."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._registers: dict[str, UsageRegister] = {}
        self._seqs: dict[str, int] = {}
        self._set_aside: set[str] = set()
        """Ids of the accounts of users whose register cannot be read."""
        self.spent = False
        """Whether anybody has ever used credits here."""
        self._unsaved: dict[str, UsageRegister] = {}
        """By user, what no stored register says yet."""
        self._dirty_from: dict[str, int] = {}
        """By the subject of the register: the oldest event whose effect is only in memory."""

    def of(self, user: str) -> UsageRegister | None:
        """What a user has used here; None: nothing that was ever counted."""
        return self._registers.get(user)

    def has_used(self, user: str) -> bool:
        """Whether a user has used credits here, ever."""
        reg = self._registers.get(user)
        return reg is not None and reg.used > 0

    @property
    def set_aside(self) -> int:
        """Of how many users the register cannot be read."""
        return len(self._set_aside)

    def unreadable(self, user: str) -> bool:
        """Whether what a user has used here cannot be read."""
        return bool(self._set_aside) and account_id_of(user) in self._set_aside

    def put_aside(self, account: str) -> None:
        """The register that is kept for an account cannot be read."""
        self._registers = {user: reg for user, reg in self._registers.items() if reg.account != account}
        self._set_aside.add(account)

    def untold(self) -> list[UsageRegister]:
        """Those whose account's shard does not know all of it, as far as is known."""
        return [reg for reg in self._registers.values() if reg.told != reg.used]

    def apply(self, seq: int, reg: UsageRegister) -> None:
        """Take over a register as it is stored; one older than what is known is ignored."""
        if seq > self._seqs.get(reg.user, 0):
            self._seqs[reg.user] = seq
            self._registers[reg.user] = reg
            self.spent = self.spent or reg.used > 0
            self._set_aside.discard(reg.account)

    def fold(self, seq: int, event: Executed, daily: Callable[[str], bool]) -> UsageRegister | None:
        """Count an event; the register after it, or None where it changes nothing.

        `daily` tells of a user whether the runs of a day are counted.
        """
        user = event.user_id
        if user is None or self.unreadable(user) or not counts(event, daily=daily(user)):
            return None
        reg = use(self._registers.get(user), seq, event)
        if reg is not None:
            self._registers[user] = self._unsaved[user] = reg
            self.spent = self.spent or reg.used > 0
            self._dirty_from.setdefault(subjects.usage_register(self._partition, reg.account), seq)
        return reg

    def note_told(self, user: str, told: int) -> bool:
        """The account's shard knows so much of what was used; whether that is news, to be stored some time."""
        reg = self._registers.get(user)
        if reg is None or reg.told == told:
            return False
        self._registers[user] = self._unsaved[user] = msgspec.structs.replace(reg, told=told)
        return True

    def unsaved(self) -> Iterator[UnsavedUsage]:
        """What changed, to be stored."""
        for user, reg in list(self._unsaved.items()):
            subject = subjects.usage_register(self._partition, reg.account)
            yield UnsavedUsage(subject, encode(reg), self._saved(user, subject, reg))

    def _saved(self, user: str, subject: str, reg: UsageRegister) -> Callable[[int], None]:
        def stored(seq: int) -> None:
            self._seqs[user] = seq
            if self._unsaved.get(user) is reg:
                del self._unsaved[user]
                self._dirty_from.pop(subject, None)

        return stored

    def oldest_dirty(self, written: Container[str]) -> int:
        """The oldest event whose effect is in no register, once those of these subjects are stored; 0: none."""
        return min((seq for subject, seq in self._dirty_from.items() if subject not in written), default=0)
