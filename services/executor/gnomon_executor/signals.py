"""What running attempts hear and say over core NATS: cancels, claim questions, progress.

All of it may be lost. A cancel is repeated by its sender until its effect is seen; a question without an
answer is asked again; of progress only the newest matters.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_core.runtime.bus import NatsBus, NotCommitted
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.service import Service
from gnomon_executor.attempt import Attempt, Interruption
from gnomon_executor.mailbox import Mailbox
from gnomon_executor.running import Running
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.members import ClaimAnswer, ClaimQuestion
from gnomon_schemas.signals import CancelSignal, Progress

__all__ = ["Signals"]

PROGRESS_EVERY_SECONDS: Final = 0.1
"""Of one run no more is told than one progress in this time."""


class Signals(Service):
    """Hears and speaks for the attempts of one executor."""

    def __init__(self, bus: NatsBus, clock: Clock, running: Running, executor_id: str) -> None:
        super().__init__("signals")
        self._bus = bus
        self._clock = clock
        self._running = running
        self._id = executor_id
        self._subscriptions: list[Subscription] = []
        self._progress: dict[str, Progress] = {}
        self._some_progress = asyncio.Event()

    async def on_start(self) -> None:
        """Listen before anything is claimed: whoever is asked must be able to answer."""
        loop = asyncio.get_running_loop()
        self._reports: Mailbox[tuple[Attempt, float, str]] = Mailbox(loop, self._note_progress)
        self._subscriptions = [
            await self._bus.subscribe(subjects.executor_claims(self._id), self._asked),
            await self._bus.subscribe(subjects.cancel_signal("*", "*"), self._cancel),
        ]
        _ = self.spawn(self._tell_progress(), "progress")

    async def on_stop(self) -> None:
        """Listen no more."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            if not self._bus.nc.is_closed:
                await subscription.unsubscribe()

    def progress(self, attempt: Attempt, fraction: float, message: str) -> None:
        """A handler tells how far it is. May be called from any thread."""
        self._reports.put((attempt, fraction, message))

    async def _asked(self, message: Msg) -> None:
        question = decode(message.data, ClaimQuestion)
        running = self._running.runs((question.execution_id, question.attempt), question.nonce)
        await self._bus.send(message.reply, encode(ClaimAnswer(running=running)))

    async def _cancel(self, message: Msg) -> None:
        _, _, task_id, run = message.subject.split(".")
        attempt = self._running.of_execution(f"{task_id}.{run}")
        if attempt is None:
            return
        try:
            attempt.cancel_reason = decode(message.data, CancelSignal).reason
        except msgspec.DecodeError:
            attempt.cancel_reason = None
        attempt.interrupt(Interruption.CANCEL)

    def _note_progress(self, report: tuple[Attempt, float, str]) -> None:
        attempt, fraction, message = report
        due = attempt.due
        self._progress[subjects.progress(due.task_id, due.run)] = Progress(
            execution_id=due.execution_id,
            attempt=due.attempt,
            fraction=fraction,
            message=message,
            at=format_instant(self._clock.now_ms()),
            user_id=due.user_id,
        )
        self._some_progress.set()

    async def _tell_progress(self) -> None:
        while True:
            await self._some_progress.wait()
            self._some_progress.clear()
            reports, self._progress = self._progress, {}
            try:
                for subject, report in reports.items():
                    await self._bus.send(subject, encode(report))
            except NotCommitted:
                continue  # nobody could have heard it
            await asyncio.sleep(PROGRESS_EVERY_SECONDS)
