"""Two batches at work: while Postgres commits one, the next is folded here.

Folding keeps one core busy and committing keeps another, so a stream that is behind is projected nearly twice as fast.
Commits are still made one by one and in order, each guarded by the position (see `writer`), so a crash at any line
leaves what it would have left without this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gnomon_api.readmodels.retention import Removal
from gnomon_api.readmodels.writer import Prepared, ReadModelWriter, Unreadable
from gnomon_core.runtime.messages import Stored

__all__ = ["WritePipeline"]


class WritePipeline:
    """Batches go in by `put`, in the order of the stream, from one task.

    `on_written` is called after each commit with the batch, what could only be archived, and the seconds that
    both halves took; `on_failed` with what a commit raised, at once, since the next batch may be long in
    coming (it comes by `put` or `flush` all the same). Neither may raise or block. After an error nothing more
    can be put.
    """

    def __init__(
        self,
        writer: ReadModelWriter,
        on_written: Callable[[Sequence[Stored], list[Unreadable], float], None],
        on_failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._writer = writer
        self._on_written = on_written
        self._on_failed = on_failed
        self._committing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def put(self, batch: Sequence[Stored]) -> None:
        """Fold a batch, wait for the commit of the one before, and begin to commit this one.

        Raises, as `flush`, what the commit before raised; this batch is then not written. Raises also what
        `ReadModelWriter.prepare` raises.
        """
        async with self._turn:
            begun = time.monotonic()
            prepared = await self._writer.prepare(batch)
            spent = time.monotonic() - begun
            await self.flush()
            self._committing = asyncio.create_task(self._commit(prepared, spent), name="read models: commit")
            self._committing.add_done_callback(self._ended)

    async def remove(self, removal: Removal) -> int:
        """Remove what is old, if anything is, between two batches; how many rows went.

        Raises as `put`, and what `ReadModelWriter.remove` raises.
        """
        async with self._turn:
            await self.flush()
            return await self._writer.remove(removal) if await self._writer.has_old(removal) else 0

    async def flush(self) -> None:
        """Wait until all that was put is committed. Raises what `ReadModelWriter.commit` raises."""
        if self._committing is not None:
            await asyncio.shield(self._committing)

    async def close(self) -> None:
        """Let the commit that is on its way end, however it does; when cancelled, break it off."""
        if self._committing is None:
            return
        try:
            await asyncio.wait([self._committing])
        except asyncio.CancelledError:
            self._committing.cancel()
            await asyncio.wait([self._committing])
            raise

    async def _commit(self, prepared: Prepared, spent: float) -> None:
        begun = time.monotonic()
        unreadable = await self._writer.commit(prepared)
        self._on_written(prepared.batch, unreadable, spent + time.monotonic() - begun)

    def _ended(self, committing: asyncio.Task[None]) -> None:
        if committing.cancelled() or (error := committing.exception()) is None:
            return
        if self._on_failed is not None:
            self._on_failed(error)
