"""What a shard decides, as functions without I/O and without a clock."""
