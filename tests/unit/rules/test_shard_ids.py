"""The ids that stand for shards in commands to them."""

from __future__ import annotations

import pytest

from gnomon_schemas.limits import is_id
from gnomon_schemas.subjects import partition_of, shard_id


@pytest.mark.parametrize("partitions", [1, 2, 8, 40])
def test_a_shards_id_is_put_into_that_shards_partition(partitions: int) -> None:
    for partition in range(partitions):
        name = shard_id(partition, partitions)
        assert is_id(name)
        assert partition_of(name, partitions) == partition
