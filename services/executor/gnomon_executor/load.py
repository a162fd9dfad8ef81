"""Telling how busy this executor is, in its membership."""

from __future__ import annotations

import asyncio
from typing import Final

from gnomon_core.runtime.membership import Membership
from gnomon_core.runtime.service import Service
from gnomon_executor.worker import Worker

__all__ = ["Load"]

_EVERY_SECONDS: Final = 2.0


class Load(Service):
    """Keeps the member's `running` current."""

    def __init__(self, worker: Worker, membership: Membership) -> None:
        super().__init__("load")
        self._worker = worker
        self._membership = membership

    async def on_start(self) -> None:
        """Begin to tell."""
        _ = self.spawn(self._tell(), "tell")

    async def _tell(self) -> None:
        while True:
            self._membership.update(running=self._worker.busy)
            await asyncio.sleep(_EVERY_SECONDS)
