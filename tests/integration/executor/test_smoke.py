from __future__ import annotations

from tests.integration.executor.harness import Lab, make_due, names


async def test_a_due_is_run_and_leaves_the_queue(lab: Lab) -> None:
    """The whole path once: claimed, run, recorded, acknowledged."""
    due = make_due("echo", {"a": 1})
    async with lab.worker() as worker:
        await lab.emit(due)
        result = await lab.ended(due)
        assert result.status == "completed"
        assert bytes(result.result) == b'{"a":1}'
        assert names(await lab.chain(due)) == ["started", "executed"]
        await lab.queue_empty()
