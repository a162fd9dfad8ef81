"""The client against a real scheduler and executor, over NATS alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from gnomon import Client, GnomonError, NotAnswered, cron, event_stream, interval, new_id
from gnomon.commanding import RESEND_AFTER_SECONDS
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas import subjects
from gnomon_schemas.accounts import AccountLimits, Tier
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import instant_ms, slot_run
from gnomon_schemas.events import Created, Executed, ReminderTriggered, Skipped, Started
from gnomon_schemas.problems import Code
from gnomon_schemas.samples import samples
from gnomon_schemas.tasks import TaskStatus
from gnomon_schemas.templates import TemplateSpec
from tests.harness.tampering import lose
from tests.harness.world import World

pytestmark = pytest.mark.timeout(120)


async def test_a_task_from_creation_to_its_events(client: Client) -> None:
    """As the reference shows it: create with a schedule, follow what is executed."""
    task = await client.create_task(
        name="Report", task_type="echo", config={"a": 1}, schedule=cron("*/5 * * * *"), tags=["reports"]
    )
    assert (task.name, task.status, task.version, task.user_id) == ("Report", TaskStatus.SCHEDULED, 1, "ann")
    async with client.events("executed", task_id=task.task_id) as events:
        execution = await client.run(task.task_id, trigger_data={"why": "test"}, config={"b": 2})
        event = await asyncio.wait_for(anext(events), 15)
    assert isinstance(event, Executed)
    assert (event.execution_id, event.status) == (execution.execution_id, "completed")
    assert msgspec.json.decode(event.result) == {"a": 1, "b": 2}
    assert events.position is not None


async def test_slots_of_the_past_and_an_execution_once_more(client: Client) -> None:
    task = await client.create_task(name="B", task_type="echo", config={}, schedule=cron("0 * * * *"))
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    hours = [end - timedelta(hours=back) for back in (3, 2, 1)]
    async with client.events("executed", task_id=task.task_id) as events:
        backfill_id = await client.backfill(task.task_id, hours[0], end, slots=hours[1:])
        ran = [await asyncio.wait_for(anext(events), 15) for _ in range(2)]
        runs = [event.run for event in ran if isinstance(event, Executed)]
        assert runs == [f"b-{backfill_id}-{slot_run(hour)}" for hour in hours[1:]]
        again = await client.retry_execution(task.task_id, runs[0])
        repeated = await asyncio.wait_for(anext(events), 15)
    assert isinstance(repeated, Executed)
    assert (repeated.run, repeated.retry_of) == (again.run, f"{task.task_id}.{runs[0]}")
    with pytest.raises(GnomonError) as caught:
        await client.cancel_backfill(task.task_id, backfill_id)
    assert caught.value.problem.code == Code.NOT_FOUND


async def test_a_template_is_kept_by_a_service_and_used_by_its_users(client: Client, world: World) -> None:
    """A service needs no role; a user's client may use the template and not change it."""
    async with Client(world.broker.url) as service:
        spec = TemplateSpec(
            name="Ping",
            task_type="echo",
            default_config=msgspec.Raw(b'{"a": 1}'),
            required_fields=("to",),
            credits_per_run=2,
        )
        made = await service.create_template("ping", spec)
        assert (made.version, (await service.create_template("ping", spec)).version) == (1, 1)
        task = await client.create_from_template("ping", config={"to": "you"}, tags=["x"])
        assert (task.name, task.template_id, task.tags, task.user_id) == ("Ping", "ping", ("x",), "ann")
        assert msgspec.json.decode(task.config) == {"a": 1, "to": "you"}
        with pytest.raises(GnomonError) as caught:
            await client.create_from_template("ping")
        assert caught.value.problem.errors[0].pointer == "#/config/to"
        with pytest.raises(GnomonError) as caught:
            await client.update_template("ping", {"name": "mine"})
        assert caught.value.problem.code == Code.FORBIDDEN
        changed = await service.update_template("ping", {"is_active": False}, if_match=1)
        assert (changed.version, changed.is_active) == (2, False)
        assert (await service.delete_template("ping")).ok


async def test_an_account_is_kept_by_a_service(client: Client, world: World) -> None:
    """Credits are given once per command id; a user's own client may not."""
    async with Client(world.broker.url) as service:
        account = await service.set_account("ann", tier=Tier.PRO, limits=AccountLimits(max_concurrent=9))
        assert (account.user_id, account.tier, account.limits.max_concurrent) == ("ann", Tier.PRO, 9)
        command = new_id()
        for _ in range(2):
            credited = await service.credit_account("ann", 12.5, reference="invoice 7", command_id=command)
            assert credited.credited == account.credited + 12.5
        reminded = await client.set_account("ann", calendar_reminders=True)
        assert reminded.calendar_reminders
        with pytest.raises(GnomonError) as caught:
            await client.credit_account("ann", 5)
        assert caught.value.problem.code == Code.FORBIDDEN


async def test_a_calendar_is_made_changed_and_deleted_and_obeyed(client: Client, world: World) -> None:
    now = datetime.now(UTC)
    spans = ({"from": (now - timedelta(hours=1)).isoformat(), "to": (now + timedelta(hours=1)).isoformat()},)
    spec = {"name": "Quiet", "selector": {"tags": ["quiet"]}, "spans": spans}
    async with Client(world.broker.url) as service:
        made = await service.create_calendar("quiet", spec)
        assert (made.calendar_id, made.action, made.version) == ("quiet", BlackoutAction.SKIP, 1)
        assert (await service.create_calendar("quiet", spec)).version == 1
        changed = await service.update_calendar("quiet", {"name": "Very quiet"}, if_match=1)
        assert (changed.name, changed.version) == ("Very quiet", 2)
        async with client.events("skipped") as events:
            task = await client.create_task(
                name="N", task_type="echo", schedule=interval(seconds=1), tags=["quiet"]
            )
            skipped = await asyncio.wait_for(anext(events), 15)
        assert isinstance(skipped, Skipped)
        assert (skipped.task_id, skipped.reason, skipped.calendar_id) == (task.task_id, "blackout", "quiet")
        with pytest.raises(GnomonError) as stale:
            await service.delete_calendar("quiet", if_match=1)
        assert stale.value.code is Code.VERSION_MISMATCH
        assert (await service.delete_calendar("quiet")).ok
        with pytest.raises(GnomonError) as unfit:
            await service.create_calendar("x", {"name": "No selector"})
        assert unfit.value.problem.errors[0].pointer == "#/selector"
    with pytest.raises(GnomonError) as forbidden:
        await client.create_calendar("mine", spec)
    assert forbidden.value.code is Code.FORBIDDEN
    await client.delete(task.task_id)


async def test_a_pool_is_set(client: Client, world: World) -> None:
    async with Client(world.broker.url) as service:
        pool = await service.update_pool("narrow", max_in_flight=2)
        assert (pool.max_in_flight, pool.paused) == (2, False)
        pool = await service.update_pool("narrow", paused=True)
        assert (pool.max_in_flight, pool.paused) == (2, True)
        pool = await service.update_pool("narrow", max_in_flight=None, paused=False, if_match=pool.version)
        assert (pool.max_in_flight, pool.paused) == (None, False)
    with pytest.raises(GnomonError) as forbidden:
        await client.update_pool("narrow", paused=True)
    assert forbidden.value.code is Code.FORBIDDEN


async def test_a_slot_that_was_lost_is_repaired_and_one_that_was_not_stays(
    client: Client, world: World
) -> None:
    task = await client.create_task(
        name="N", task_type="echo", schedule=interval(seconds=1), overlap="allow", catch_up={"policy": "all"}
    )
    async with client.events("executed", "skipped", task_id=task.task_id) as events:
        first = await asyncio.wait_for(anext(events), 15)
        await asyncio.wait_for(anext(events), 15)
        await client.pause(task.task_id)
        assert isinstance(first, Executed)
        slot = datetime.fromisoformat(first.scheduled_for)
        await lose(world, task.task_id, first.run)
        async with Client(world.broker.url) as service:
            for slots in ([slot], [slot, slot + timedelta(seconds=1)]):
                repaired = await service.repair(task.task_id, slots)
                assert (repaired.task_id, repaired.version) == (task.task_id, 2)
        async with asyncio.timeout(15):
            skipped = await anext(events)
            while not isinstance(skipped, Skipped):  # slots before the pause may have ended meanwhile
                skipped = await anext(events)
        assert (skipped.run, skipped.reason) == (first.run, "paused"), "as any slot of a task that rests now"
        with pytest.raises(GnomonError) as forbidden:
            await client.repair(task.task_id, [slot])
        assert forbidden.value.code is Code.FORBIDDEN
        with pytest.raises(ValueError, match="offset"):
            await client.repair(task.task_id, [slot.replace(tzinfo=None)])


async def test_reminders_of_a_user_are_heard_from_the_log_and_live(client: Client, world: World) -> None:
    """Somebody else's are not; a service hears everybody's."""
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    async with (
        Client(world.broker.url, user_id="bob") as bob,
        Client(world.broker.url) as service,
        client.reminders() as mine,
        service.reminders() as all_of_them,
        service.live_events("reminder_triggered") as live,
    ):
        for who, name in ((bob, "Bob's"), (client, "Mine")):
            await who.create_task(name=name, task_type="todo", reminder_time=soon)
        reminder = await asyncio.wait_for(anext(mine), 15)
        assert (reminder.name, reminder.user_id, reminder.reminder_type) == ("Mine", "ann", "reminder_time")
        assert {(await asyncio.wait_for(anext(all_of_them), 15)).name for _ in range(2)} == {"Bob's", "Mine"}
        heard = [await asyncio.wait_for(anext(live), 15) for _ in range(2)]
        assert {type(one) for one in heard} == {ReminderTriggered}
    again = client.reminders(task_id=reminder.task_id, after_seq=0)
    assert (await asyncio.wait_for(anext(again), 15)).task_id == reminder.task_id
    await again.aclose()
    with pytest.raises(ValueError, match="'nonsense' is not known"):
        client.live_events("nonsense")


async def test_a_log_that_is_not_there_for_a_client_is_an_error_and_not_a_wait_for_ever(
    nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in an account that may not ask JetStream: nobody answers."""
    monkeypatch.setattr(event_stream, "_FIRST_ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(subjects, "EVENTS_STREAM", "NOT_THERE")
    async with Client(nats_server.url) as stranger:
        with pytest.raises(GnomonError, match="live_events") as refused:
            await anext(stranger.events())
        assert refused.value.code is Code.UNAVAILABLE
        with pytest.raises(GnomonError, match="NOT_THERE cannot be read"):
            await anext(stranger.events(after_seq=7))


async def test_consumers_that_are_refused_are_asked_for_with_a_pause_and_not_for_ever(
    nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JetStream tells of the stream, and refuses at once to make a consumer of it: no more may be made."""
    monkeypatch.setattr(event_stream, "_FIRST_ANSWER_SECONDS", 1.2)
    monkeypatch.setattr(subjects, "EVENTS_STREAM", "TAKEN")
    asked: list[Msg] = []

    async def note(message: Msg) -> None:
        asked.append(message)

    nc = await nats.connect(nats_server.url)
    jetstream = nc.jetstream()
    await jetstream.add_stream(name="TAKEN", subjects=["taken.>"], max_consumers=1)
    try:
        await jetstream.add_consumer("TAKEN", durable_name="the-only-one")
        await nc.subscribe("$JS.API.CONSUMER.CREATE.TAKEN", cb=note)
        await nc.flush()
        async with Client(nats_server.url) as late, late.events() as events:
            assert events.position == 0
            with pytest.raises(GnomonError, match="maximum consumers limit reached"):
                await asyncio.wait_for(anext(events), 10)
        await nc.flush()
        assert 2 <= len(asked) <= 4
    finally:
        await jetstream.delete_stream("TAKEN")
        await nc.close()


async def test_live_events_of_several_names_come_in_the_order_in_which_they_were_said(
    nats_server: EmbeddedNats,
) -> None:
    """One burst of them: what is not wanted is left out, and what is stays as it was said."""
    said = {
        name: msgspec.json.encode(samples()[name])
        for name in ("task.created", "task.started", "task.executed")
    }
    async with Client(nats_server.url) as listener, listener.live_events("executed", "started") as live:
        nc = await nats.connect(nats_server.url)
        for _ in range(20):
            for subject, event in said.items():
                await nc.publish(subject, event)
        await nc.flush()
        heard = [type(await asyncio.wait_for(anext(live), 10)) for _ in range(40)]
        await nc.close()
    assert heard == [Started, Executed] * 20


async def test_every_verb(client: Client) -> None:
    task = await client.create_task(name="N", task_type="echo", schedule=interval(3600), task_id=new_id())
    task = await client.update(task.task_id, {"name": "M", "tags": ["x"]})
    assert (task.name, task.tags, task.version) == ("M", ("x",), 2)
    task = await client.pause(task.task_id, note="later")
    assert (task.status, task.pause_note) == (TaskStatus.PAUSED, "later")
    task = await client.resume(task.task_id)
    assert task.status == TaskStatus.SCHEDULED
    until = datetime.now(UTC) + timedelta(hours=1)
    task = await client.pause(task.task_id, until=until)
    assert task.paused_until is not None
    assert abs(instant_ms(task.paused_until) - until.timestamp() * 1000) < 2
    other = await client.create_task(name="D", task_type="echo", schedule=interval(3600), task_id=new_id())
    assert (await client.complete(other.task_id, note="done")).status == TaskStatus.COMPLETED
    task = await client.cancel(task.task_id, reason="enough")
    assert task.status == TaskStatus.CANCELLED
    outcome = await client.delete(task.task_id)
    assert outcome.ok


async def test_one_execution_is_cancelled(client: Client) -> None:
    task = await client.create_task(name="N", task_type="sleep", config={"seconds": 60})
    async with client.events("started", "executed", task_id=task.task_id) as events:
        execution = await client.run(task.task_id)
        await asyncio.wait_for(anext(events), 15)
        assert (await client.cancel_execution(task.task_id, execution.run, reason="no need")).ok
        ended = await asyncio.wait_for(anext(events), 15)
    assert isinstance(ended, Executed)
    assert ended.status == "cancelled"


async def test_a_refusal_carries_the_problem(client: Client) -> None:
    with pytest.raises(GnomonError) as unknown:
        await client.create_task(name="N", task_type="no_such_type")
    assert unknown.value.code is Code.UNKNOWN_TASK_TYPE
    with pytest.raises(GnomonError) as missing:
        await client.update("no-such-task", {"name": "x"})
    assert missing.value.code is Code.NOT_FOUND
    with pytest.raises(GnomonError) as unfit:
        await client.create_task(name="N", task_type="sleep", config={"seconds": "long"})
    assert unfit.value.code is Code.INVALID_CONFIG
    assert unfit.value.problem.errors[0].pointer == "#/config/seconds"
    assert "#/config/seconds" in str(unfit.value)
    task = await client.create_task(name="N", task_type="echo")
    with pytest.raises(GnomonError) as stale:
        await client.update(task.task_id, {"name": "x"}, if_match=7)
    assert stale.value.code is Code.VERSION_MISMATCH


@pytest.mark.parametrize("task_id", ["a.b", "*", ">", "with space", "x" * 65, "", "_x"])
async def test_hostile_ids_never_leave_the_client(client: Client, task_id: str) -> None:
    with pytest.raises(GnomonError) as refused:
        await client.update(task_id, {"name": "x"})
    assert refused.value.code is Code.INVALID_ID
    with pytest.raises(ValueError, match="not an id"):
        client.events(task_id=task_id)


async def test_too_large_a_command_never_leaves_the_client(client: Client) -> None:
    with pytest.raises(GnomonError) as refused:
        await client.create_task(name="N", task_type="echo", config={"x": "y" * 1_000_000})
    assert refused.value.code is Code.TOO_LARGE


async def test_another_users_task_does_not_exist(client: Client, world: World) -> None:
    task = await client.create_task(name="N", task_type="echo")
    async with Client(world.broker.url, user_id="bob") as other:
        with pytest.raises(GnomonError) as hidden:
            await other.pause(task.task_id)
    assert hidden.value.code is Code.NOT_FOUND


async def test_a_lost_answer_is_asked_for_again_and_acts_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first outcome is lost: the same command goes out again with its id, and the run exists once."""
    task = await client.create_task(name="N", task_type="echo")
    handed_on = client._outcome_came
    lost: list[Any] = []

    async def lose_first(message: Any) -> None:
        if not lost:
            lost.append(message)
            return
        await handed_on(message)

    await _listen_instead(client, lose_first)
    async with client.events("queued", task_id=task.task_id) as events:
        begun = asyncio.get_running_loop().time()
        execution = await client.run(task.task_id)
        assert asyncio.get_running_loop().time() - begun >= RESEND_AFTER_SECONDS * 0.9
        queued = await asyncio.wait_for(anext(events), 10)
        assert getattr(queued, "execution_id", None) == execution.execution_id
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 1)
    assert len(lost) == 1


async def test_the_same_command_id_is_the_same_command(client: Client) -> None:
    """A caller that repeats a call after its own crash gets the first outcome again."""
    task = await client.create_task(name="N", task_type="echo")
    command_id = new_id()
    first = await client.run(task.task_id, command_id=command_id)
    again = await client.run(task.task_id, command_id=command_id)
    assert first.run == again.run == f"r-{command_id}"


async def test_without_an_answer_the_caller_learns_that_it_is_unknown(world: World) -> None:
    """The outcome never comes: the error says how to ask again, and asking again is answered."""
    async with Client(world.broker.url, user_id="ann", timeout=0.5) as deaf:
        await _listen_instead(deaf, _hear_nothing)
        with pytest.raises(NotAnswered, match="command_id=") as unanswered:
            await deaf.create_task(name="N", task_type="echo", task_id="t-deaf", command_id="c-deaf")
    assert unanswered.value.command_id == "c-deaf"
    async with Client(world.broker.url, user_id="ann") as hearing:
        task = await hearing.create_task(name="N", task_type="echo", task_id="t-deaf", command_id="c-deaf")
    assert task.version == 1


async def test_events_go_on_over_a_restart_of_the_broker(client: Client, world: World) -> None:
    """Nothing is missed and nothing comes twice, whatever happens to the connection."""
    task = await client.create_task(name="N", task_type="echo")
    async with client.events("executed", task_id=task.task_id) as events:
        runs = []
        for turn in range(3):
            if turn == 1:
                await world.broker.kill()
                await world.broker.start()
            runs.append((await _patiently(client, task.task_id)).run)
            event = await asyncio.wait_for(anext(events), 60)
            assert isinstance(event, Executed)
            assert event.run == runs[-1]


async def test_events_of_all_tasks_and_from_a_position(client: Client) -> None:
    """What was stored after a known position is handed out, also when it was stored before the asking."""
    async with client.events("created") as events:
        first = await client.create_task(name="one", task_type="echo")
        second = await client.create_task(name="two", task_type="echo")
        seen = [await asyncio.wait_for(anext(events), 15) for _ in range(2)]
        position = events.position
    assert [event.task_id for event in seen] == [first.task_id, second.task_id]
    assert position is not None
    third = await client.create_task(name="three", task_type="echo")
    later = client.events("created", after_seq=position)
    event = await asyncio.wait_for(anext(later), 15)
    await later.aclose()
    assert isinstance(event, Created)
    assert event.task.name == third.name


async def test_many_events_come_in_order_and_once(client: Client) -> None:
    """More than one pull brings: no gap between them."""
    task = await client.create_task(name="N", task_type="echo", overlap="allow")
    async with client.events("executed", "started", "queued", task_id=task.task_id) as events:
        runs = await asyncio.gather(*(client.run(task.task_id) for _ in range(150)))
        seen = [await asyncio.wait_for(anext(events), 30) for _ in range(450)]
    for run in runs:
        names = [type(event).__name__ for event in seen if getattr(event, "run", None) == run.run]
        assert names == ["Queued", "Started", "Executed"]


def test_an_unknown_event_is_refused_with_what_there_is() -> None:
    gnomon = Client()
    with pytest.raises(RuntimeError, match="not connected"):
        gnomon.events("executed")


async def _hear_nothing(message: Any) -> None:
    """Lose every outcome."""


async def _patiently(client: Client, task_id: str) -> Any:
    """Run a task, and again with the same id where the broker was just not there."""
    command_id = new_id()
    while True:
        try:
            return await client.run(task_id, command_id=command_id)
        except NotAnswered:
            continue


async def _listen_instead(client: Client, take: Any) -> None:
    """Put another listener in the place of the client's own."""
    nc = client._nc
    assert isinstance(nc, Nats)
    for subscription in list(nc._subs.values()):
        if subscription.subject == f"{client._inbox}.*":
            await subscription.unsubscribe()
    await nc.subscribe(f"{client._inbox}.*", cb=take)
