"""What tests that kill, pause and cut off real processes stand on.

`world` starts brokers' streams anew and processes as children; `commands` asks as any other program would; `events`
hears what was stored; `ledger` is the oracle: it recomputes which slots there should have been and compares; `stopping`
stops a process at a chosen write; `leading` drives one shard inside the test; `fake_executor` speaks an executor's
part of the protocol.
"""
