"""A process that does nothing but hold leases, for tests that kill, stop and pause it.

`python -m tests.integration.runtime.lease_process URL ID TTL PARTITIONS` prints a JSON line per lease gained
or lost.
"""

from __future__ import annotations

import json
import sys

from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.lease import Leases
from gnomon_core.runtime.membership import Membership, MemberWatch, this_process
from gnomon_core.runtime.supervisor import BusService, Supervisor, run_process
from gnomon_schemas.members import Lease
from tests.integration.runtime.connecting import Address


def say(event: str, partition: int, epoch: int = 0) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps({"event": event, "partition": partition, "epoch": epoch}) + "\n")
    sys.stdout.flush()


async def gain(partition: int, lease: Lease, _: int) -> None:
    """Begin to lead."""
    say("gain", partition, lease.epoch)


async def lose(partition: int) -> None:
    """Stop leading."""
    say("lose", partition)


async def build() -> Supervisor:
    """The process as a scheduler would be, with nothing to lead."""
    url, member_id, ttl, partitions = sys.argv[1:]
    bus = await connect(Address(url), name=member_id)
    members = MemberWatch(bus, ("scheduler",))
    membership = Membership(bus, this_process("scheduler", member_id, "test"))
    leases = Leases(bus, member_id, int(partitions), float(ttl), members=members, on_gain=gain, on_lose=lose)
    return Supervisor([BusService(bus), membership, members, leases], grace=5)


if __name__ == "__main__":
    sys.exit(run_process(build, name="lease"))
