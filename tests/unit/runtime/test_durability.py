"""What an acknowledgement means, and what of a demand is not kept: a table of what streams and servers may be."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_core.runtime.durability import STATED, Demand, Sync, durability_of
from gnomon_core.runtime.topology import TopologySettings, stream_configs

ALWAYS = Sync(servers=1, always=True)
SELDOM = Sync(servers=1, interval_seconds=120.0)
UNKNOWN = Sync(trouble="GNOMON_NATS_MONITOR is not set")


def streams(replicas: int = 1, **changes: Any) -> dict[str, dict[str, Any]]:
    """Those of our streams that promise something, with something else of the event log."""
    every = {config["name"]: config for config in stream_configs(TopologySettings(replicas=replicas))}
    found = {name: every[name] for name in STATED}
    found["TASKS"] = found["TASKS"] | changes
    return found


@pytest.mark.parametrize(
    ("configs", "sync", "words"),
    [
        (streams(), ALWAYS, "acknowledged means on disk on 1 node"),
        (streams(3), Sync(servers=3, always=True), "acknowledged means on disk on 2 of 3 nodes"),
        (
            streams(3),
            ALWAYS,
            "acknowledged means handed to the system of 2 of 3 nodes; when it is on disk is not known",
        ),
        (
            streams(),
            SELDOM,
            "acknowledged means handed to the system of 1 node, which is written to disk every 2m",
        ),
        (
            streams(),
            UNKNOWN,
            "acknowledged means handed to the system of 1 node; when it is on disk is not known",
        ),
        (streams(storage="memory"), ALWAYS, "acknowledged means in the memory of 1 node"),
        (streams(persist_mode="async"), ALWAYS, "acknowledged means in the memory of 1 node"),
    ],
)
def test_one_line_says_what_an_acknowledgement_means(
    configs: dict[str, dict[str, Any]], sync: Sync, words: str
) -> None:
    assert durability_of(configs, sync).words == words


R1, R3 = streams(), streams(3)
ALL_THREE = Sync(servers=3, always=True)


@pytest.mark.parametrize(
    ("demand", "configs", "sync", "lacks"),
    [
        (Demand.MEMORY, streams(storage="memory"), UNKNOWN, []),
        (Demand.WRITTEN, R1, UNKNOWN, []),
        (Demand.WRITTEN, streams(storage="memory"), ALWAYS, ["TASKS is kept in memory"]),
        (Demand.WRITTEN, streams(max_age=1_000_000_000), ALWAYS, ["TASKS has max_age=1000000000"]),
        (Demand.WRITTEN, streams(max_bytes=-1, max_msgs=-1, max_msgs_per_subject=-1), ALWAYS, []),
        (Demand.FSYNC, R1, ALWAYS, []),
        (Demand.FSYNC, R1, SELDOM, ["nats-server writes to disk every 120 s"]),
        (Demand.FSYNC, R1, UNKNOWN, ["GNOMON_NATS_MONITOR is not set"]),
        (Demand.FSYNC, R3, ALWAYS, ["1 of 3 servers told"]),
        (Demand.FSYNC, streams(persist_mode="async"), ALWAYS, ["before it is written"]),
        (Demand.REPLICATED, R1, ALWAYS, ["streams have 1 copies"]),
        (Demand.REPLICATED, R3, UNKNOWN, []),
        (Demand.REPLICATED_FSYNC, R3, ALL_THREE, []),
        (Demand.REPLICATED_FSYNC, R1, SELDOM, ["streams have 1 copies", "every 120 s"]),
    ],
)
def test_what_a_demand_lacks_is_told_with_what_to_do(
    demand: Demand, configs: dict[str, dict[str, Any]], sync: Sync, lacks: list[str]
) -> None:
    found = durability_of(configs, sync).lacks(demand)
    assert len(found) == len(lacks), found
    for fault, part in zip(found, lacks, strict=True):
        assert part in fault
        assert ": " in fault, "what to do follows"
