"""Both buses must agree on the partition of every key, for ever."""

from aiokafka.partitioner import murmur2 as kafkas_murmur2
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.partitioner import murmur2, partition_of


@given(st.binary(max_size=200))
def test_the_hash_is_kafkas(data: bytes) -> None:
    assert murmur2(data) == kafkas_murmur2(data) & 0xFFFFFFFF


def test_partitions_never_move() -> None:
    assert [partition_of(f"deal:{number}", 4) for number in range(8)] == [1, 1, 0, 1, 0, 0, 3, 0]
    assert partition_of("客户", 1) == 0
