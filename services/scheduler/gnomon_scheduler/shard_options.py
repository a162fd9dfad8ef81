"""What of a process's settings a shard has to know."""

from __future__ import annotations

from dataclasses import dataclass

from gnomon_core.rules.account_rules import OPEN_TO_ALL, AccountRules

__all__ = ["ShardOptions"]


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """What a shard has to know of the settings."""

    owner: str
    """Id of this process."""
    default_timezone: str
    fingerprint: str
    """Calendar fingerprint of this process's zone rules and libraries."""
    partitions: int
    """How many shards there are."""
    rules: AccountRules = OPEN_TO_ALL
    """What the operator has set for accounts."""
    cancel_grace_ms: int = 10_000
    """How long a running handler may take to answer a cancel."""
    catch_up_rate: float = 0.0
    """Late slots that one shard may hand out a second; 0: as many as there are."""
    catch_up_hold_above: float = 0.0
    """More late slots of one shard than this wait for an operator's word; 0: none does."""
    lateness_quiet_ms: int = 600_000
    """So long no slot of a task may have been late before its lateness objective counts as kept again."""
