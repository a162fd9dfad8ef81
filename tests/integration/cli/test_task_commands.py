"""`gnomon task …` and `gnomon events` against a real Gnomon, from creation to deletion, with its refusals."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import nats
import pytest
import pytest_asyncio

from gnomon_cli.up.run_file import read_run_file
from gnomon_core.runtime.embedded import free_port
from gnomon_schemas.accounts import account_id_of
from gnomon_schemas.ecosystem import SUBSCRIPTION_CHANGED
from tests.harness.waiting import until_async
from tests.integration.cli.running_up import RunningUp, Said, environment, gnomon
from tests.servers import reachable_folder

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[3]


class Shell:
    """Runs commands against one `gnomon up`."""

    def __init__(self, data: Path, mqtt_port: int) -> None:
        self._data = data
        self.run_file = read_run_file(data)
        self.mqtt_port = mqtt_port

    async def __call__(self, *arguments: str) -> Said:
        return await gnomon(*arguments, "--data", str(self._data))

    async def json(self, *arguments: str) -> Any:
        said = await self(*arguments, "--json")
        assert said.code == 0, said
        return json.loads(said.out)

    @asynccontextmanager
    async def following(self, *filters: str) -> AsyncIterator[asyncio.StreamReader]:
        """Run `gnomon events --follow` for the block; ends it as people do, by Ctrl-C."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gnomon_cli", "events", "--follow", *filters, "--data", str(self._data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(30):
                assert (await process.stderr.readline()).startswith(b"events of http://")
                yield process.stdout
        finally:
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")

    async def create(self, task_id: str, *flags: str) -> Said:
        said = await self(
            "task", "create", "--id", task_id, "--name", task_id.title(), "--type", "echo", *flags
        )
        assert said.code == 0, said
        return said


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shell() -> AsyncIterator[Shell]:
    with reachable_folder() as path:
        port = free_port()
        flags = ("--tasks", "tests.integration.cli.talking", "--mqtt-port", str(port))
        up = RunningUp(path / "data", *flags, cwd=ROOT)
        await up.start()
        assert f"mqtt://127.0.0.1:{port}" in up.terminal
        yield Shell(up.data, port)
        await up.stop()


async def test_a_created_task_is_listed_shown_and_told_when_it_runs(shell: Shell) -> None:
    said = await shell.create(
        "hourly", "--config", '{"say": "hi"}', "--cron", "0 * * * *", "--timezone", "Asia/Tokyo"
    )
    assert "hourly created: runs in" in said.out
    again = await shell.create(
        "hourly", "--config", '{"say": "hi"}', "--cron", "0 * * * *", "--timezone", "Asia/Tokyo"
    )
    assert "is there already, just like this" in again.out
    listed = await shell("task", "list", "--type", "echo")
    row = next(line for line in listed.out.splitlines() if line.startswith("hourly"))
    assert "cron 0 * * * * Asia/Tokyo" in row
    assert "scheduled" in row
    shown = await shell("task", "show", "hourly")
    assert 'config:        {"say":"hi"}' in shown.out
    upcoming = await shell("task", "next", "hourly", "--count", "3")
    assert len([line for line in upcoming.out.splitlines() if "+09:00" in line]) == 3


async def test_a_change_is_tried_before_it_is_made(shell: Shell) -> None:
    flags = ("--daily", "02:30", "--timezone", "Europe/Berlin")
    tried = await shell(
        "task", "create", "--id", "night", "--name", "N", "--type", "echo", *flags, "--dry-run"
    )
    assert tried.code == 0, tried
    assert "night would be created, scheduled" in tried.out
    assert "7 runs would appear, none would disappear" in tried.out
    assert "the clock skips this time" in tried.out
    assert (await shell("task", "show", "night")).code == 1
    await shell.create("night", *flags)
    change = ("task", "update", "night", "--daily", "03:30", "--timezone", "Europe/Berlin")
    tried = await shell(*change, "--dry-run")
    assert "night would get version 2, scheduled: schedule would change" in tried.out
    assert len([line for line in tried.out.splitlines() if line.startswith(("+ ", "- "))]) == 14
    assert (await shell.json(*change, "--dry-run"))["plan"]["appear_count"] == 7
    assert (await shell.json("task", "show", "night"))["version"] == 1
    changed = await shell(*change)
    assert "night is at version 2: runs in" in changed.out
    wrong = await shell("task", "update", "night", "--daily", "25:00", "--dry-run")
    assert (wrong.code, "schedule.time (--daily)" in wrong.err) == (1, True)


async def test_what_a_task_was_is_told_change_by_change_and_at_an_instant(shell: Shell) -> None:
    made = await shell.json(
        "task", "create", "--id", "as-it-was", "--name", "Past", "--type", "echo", "--daily", "04:00"
    )
    assert (await shell("task", "update", "as-it-was", "--priority", "high", "--tag", "a")).code == 0
    told = await shell("task", "history", "as-it-was")
    assert told.code == 0, told
    assert [line.split()[-5:-1] for line in told.out.splitlines() if "priority" in line] == [
        ["local", "priority", "medium", "high"]
    ]
    entries = (await shell.json("task", "history", "as-it-was", "--field", "tags"))["items"]
    assert [{change["field"] for change in one["changes"]} for one in entries] == [{"priority", "tags"}]
    before = await shell("task", "show", "as-it-was", "--at", made["created_at"])
    assert "priority:      medium in pool default" in before.out
    assert "version:       1" in before.out
    assert (
        "was not there yet" in (await shell("task", "show", "as-it-was", "--at", "2026-09-21T09:00:00Z")).err
    )


async def test_a_pause_says_why_and_until_when(shell: Shell) -> None:
    await shell.create("nap", "--every", "1h")
    paused = await shell("task", "pause", "nap", "--note", "migration", "--until", "2h")
    assert (paused.code, "nap is paused: goes on in " in paused.out) == (0, True), paused
    shown = await shell("task", "show", "nap")
    assert re.search(r"status: +paused until \S+ \S+Z \(migration\)", shown.out), shown.out
    late = await shell("task", "pause", "nap", "--until", "2001-01-01T00:00:00Z")
    assert (late.code, "until (--until): " in late.err) == (1, True), late
    resumed = await shell("task", "resume", "nap")
    assert "nap is scheduled: runs in" in resumed.out


async def test_a_backfill_is_counted_before_it_is_begun(shell: Shell) -> None:
    await shell.create("past", "--cron", "0 * * * *")
    span = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z")
    dry = await shell("backfill", "past", *span, "--dry-run")
    assert (dry.code, "24 slots without a success from 2026-01-01 00:00:00Z" in dry.out) == (0, True), dry
    assert "… and 14 more" in dry.out
    assert "no backfill is under way" in (await shell("backfill", "past")).out
    for arguments, words in (
        (("past", "--dry-run"), "--from is missing"),
        (("cancel", "past"), "no backfill is under way"),
        (("cancel", "past", "a", "b"), "names more than a task"),
    ):
        refused = await shell("backfill", *arguments)
        assert (refused.code, words in refused.err) == (2, True), refused
    ahead = await shell("backfill", "past", "--from", "1d", "--to", "2999-01-01T00:00:00Z")
    assert (ahead.code, "to (--to): " in ahead.err) == (1, True), ahead


async def test_a_backfill_runs_the_gaps_and_leaves_none(shell: Shell) -> None:
    await shell.create("gaps", "--cron", "0 * * * *")
    span = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T04:00:00Z")
    begun = await shell("backfill", "gaps", *span, "--concurrency", "2")
    assert (begun.code, "runs them, 2 at a time" in begun.out) == (0, True), begun

    async def over() -> bool:
        return not (await shell.json("task", "show", "gaps"))["backfills"]

    await until_async(over, within=30)
    again = await shell("backfill", "gaps", *span)
    assert "0 slots without a success" in again.out
    assert "there is nothing to run" in again.out
    shown = await shell("task", "show", "gaps")
    runs = [line for line in shown.out.splitlines() if line.startswith("b-")]
    assert len(runs) == 4
    assert all("backfill" in line and "completed" in line for line in runs)


async def test_what_is_late_is_told_and_decided(shell: Shell) -> None:
    assert "nothing is late" in (await shell("task", "catch-up")).out
    approved = await shell("task", "catch-up", "--approve")
    assert (approved.code, "let run: 0 late runs, decided by 8 shards" in approved.out) == (0, True), approved
    both = await shell("task", "catch-up", "--approve", "--discard")
    assert (both.code, "not allowed with" in both.err) == (2, True), both


async def test_the_json_of_a_list_is_the_api_s_own(shell: Shell) -> None:
    await shell.create("listed")
    body = await shell.json("task", "list", "--limit", "1")
    assert len(body["items"]) == 1
    assert "next_cursor" in body


async def test_a_run_on_demand_is_waited_for_and_shows_its_result(shell: Shell) -> None:
    await shell.create("ask", "--config", '{"say": "hello"}')
    said = await shell("task", "run", "ask", "--wait")
    assert said.code == 0, said
    assert "completed" in said.out
    assert '"say": "hello"' in said.out
    assert re.search(r"late .+ \(.+ \+ .+\)  took ", said.out), said.out
    execution = await shell.json("task", "run", "ask", "--wait", "20s")
    assert execution["status"] == "completed"
    assert execution["trigger"] == "manual"
    parts = execution["lateness"]
    assert parts["scheduler_ms"] + parts["queue_ms"] == execution["lateness_ms"]
    assert parts["run_ms"] >= 0


async def test_a_run_that_fails_ends_with_1_and_says_why(shell: Shell) -> None:
    config = '{"url": "http://127.0.0.1:9/"}'
    said = await shell(
        "task", "create", "--id", "fails", "--name", "F", "--type", "http_request", "--config", config
    )
    assert said.code == 0, said
    said = await shell("task", "run", "fails", "--wait")
    assert said.code == 1
    assert "failed" in said.out


async def test_logs_shows_what_a_run_logged_attempt_by_attempt(shell: Shell) -> None:
    flags = ("--type", "talk", "--config", '{"again": true}', "--attempts", "2")
    said = await shell("task", "create", "--id", "talks", "--name", "T", *flags)
    assert said.code == 0, said
    assert (await shell("logs", "talks")).code == 1
    assert (await shell("task", "run", "talks", "--wait")).code == 0
    said = await shell("logs", "talks")
    assert said.code == 0, said
    lines = [line[14:] for line in said.out.splitlines() if not line.startswith("--")]
    assert lines[:4] == [
        "debug    begun",
        "info     first  colour=\ufffd[31mred",
        "         of two lines",
        "warning  once more",
    ]
    assert lines[-1] == "error    over  attempt=2"
    assert "-- attempt 2, on e-" in said.out
    errors = await shell("logs", "talks", "--level", "warning", "--json")
    assert [json.loads(line)["message"] for line in errors.out.splitlines()] == ["once more", "over"]
    assert "over" not in (await shell("logs", "talks", "--attempt", "1")).out
    said = await shell("logs", "talks.r-none")
    assert (said.code, "talks.r-none" in said.err) == (1, True)


async def test_logs_follow_ends_with_the_run(shell: Shell) -> None:
    said = await shell(
        "task", "create", "--id", "slow", "--name", "S", "--type", "talk", "--config", '{"slow": 5}'
    )
    assert said.code == 0, said
    run = await shell.json("task", "run", "slow")
    said = await shell("logs", run["execution_id"], "--follow", "--json")
    assert said.code == 0, said
    told = [json.loads(line) for line in said.out.splitlines()]
    assert [line["details"]["number"] for line in told if line["message"] == "working"] == list(range(5))
    assert told[-1]["message"] == "over"


async def test_progress_is_followed_and_shown_while_it_runs_and_the_result_after(shell: Shell) -> None:
    said = await shell(
        "task", "create", "--id", "far", "--name", "F", "--type", "talk", "--config", '{"slow": 20}'
    )
    assert said.code == 0, said
    async with shell.following("progress", "executed", "task_id=far") as lines:
        await shell("task", "run", "far")
        heard = [(await lines.readline()).decode().split()[1:] for _ in range(3)]
        shown = (await shell("task", "show", "far")).out
        assert re.search(r"running: +r-\S+, attempt 1, \d+% page \d+", shown), shown
        while (line := (await lines.readline()).decode().split()[1:])[0] == "progress":
            heard.append(line)
    assert {line[0] for line in heard} == {"progress"}
    assert heard[0][1:2] == ["F"]
    assert line[0] == "executed"
    shown = (await shell("task", "show", "far")).out
    assert 'last result:   {"pages":20}' in shown


async def test_a_task_is_called_done(shell: Shell) -> None:
    assert (
        await shell("task", "create", "--id", "done", "--name", "D", "--type", "echo", "--every", "1h")
    ).code == 0
    assert "done is completed" in (await shell("task", "complete", "done")).out


async def test_pause_resume_cancel_and_delete_say_what_became_of_the_task(shell: Shell) -> None:
    await shell.create("life", "--every", "1h")
    assert "life is paused" in (await shell("task", "pause", "life", "--note", "holidays")).out
    assert "paused (holidays)" in (await shell("task", "show", "life")).out
    assert "life is scheduled: runs in" in (await shell("task", "resume", "life")).out
    made = await shell("task", "run", "life", "--wait", "--json")
    execution_id = json.loads(made.out)["execution_id"]
    assert f"{execution_id} runs again as r-" in (await shell("task", "retry", execution_id)).out
    assert "life is cancelled" in (await shell("task", "cancel", "life")).out
    assert "life is deleted" in (await shell("task", "delete", "life")).out
    gone = await shell("task", "show", "life")
    assert gone.code == 1
    assert "gnomon task list" in gone.err


async def test_of_several_ids_one_that_is_refused_does_not_keep_the_others(shell: Shell) -> None:
    await shell.create("first", "--every", "1h")
    await shell.create("third", "--every", "1h")
    said = await shell("task", "pause", "first", "second", "third")
    assert said.code == 1
    assert [line.split()[0].rstrip(":") for line in said.out.splitlines()] == ["first", "second", "third"]
    told = await shell("task", "resume", "first", "second", "--json")
    assert (told.code, json.loads(told.out)["task_id"]) == (1, "first"), "what is refused is told aside"
    assert told.err.startswith("second: ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--type", "ehco"], "known are: calendar_event, echo, http_request, reminder"),
        (["--type", "echo", "--cron", "* * *"], "(--cron)"),
        (["--type", "echo", "--every", "10s", "--timezone", "Mars/Olympus"], "Mars/Olympus"),
        (["--type", "sleep", "--config", '{"seconds": "long"}'], "config.seconds"),
        (["--type", "echo", "--id", "a.b"], "a.b"),
    ],
)
async def test_a_refusal_names_field_value_and_what_is_allowed(
    shell: Shell, flags: list[str], words: str
) -> None:
    said = await shell("task", "create", "--name", "Wrong", *flags)
    assert said.code == 1
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert words in said.err


async def test_events_shows_the_last_that_match(shell: Shell) -> None:
    await shell.create("talker", "--config", '{"say": "hello"}')
    assert (await shell("task", "run", "talker", "--wait")).code == 0
    said = await shell("events", "task_id=talker")
    assert [line.split()[1] for line in said.out.splitlines()] == [
        "created",
        "queued",
        "started",
        "executed",
    ], said
    said = await shell("events", "--last", "1", "created,queued", "task_id=talker")
    assert [line.split()[1] for line in said.out.splitlines()] == ["queued"], said
    said = await shell("events", "--json", "executed", "task_id=talker")
    (event,) = [json.loads(line) for line in said.out.splitlines()]
    assert event["status"] == "completed"


async def test_events_follow_shows_what_happens_from_now_on(shell: Shell) -> None:
    await shell.create("live", "--config", '{"say": "hello"}')
    async with shell.following("executed", "task_id=live") as lines:
        assert (await shell("task", "run", "live", "--wait")).code == 0
        line = (await lines.readline()).decode()
        assert line.split()[1:3] == ["executed", "Live"]


async def test_a_device_hears_of_its_user_s_tasks_on_the_port_for_mqtt(shell: Shell) -> None:
    spec = {"task_id": "heard", "name": "Heard", "task_type": "echo"}
    async with httpx.AsyncClient() as as_user:
        made = await as_user.post(
            f"{shell.run_file.url}/api/v1/tasks", json=spec, headers={"X-User-Id": "ann"}
        )
    assert made.status_code == 201, made.text
    topic = f"users/{account_id_of('ann')}/tasks"
    async with aiomqtt.Client("127.0.0.1", port=shell.mqtt_port) as phone, asyncio.timeout(30):
        await phone.subscribe(topic)
        assert (await shell("task", "run", "heard")).code == 0
        message = await anext(phone.messages)
    assert isinstance(message.payload, bytes)
    told = json.loads(message.payload)
    assert (told["event"], told["task_id"]) == ("task.executed", "heard")


async def test_what_another_service_said_wrong_is_listed_told_again_and_dropped(shell: Shell) -> None:
    assert (await shell("poison", "list")).out == "nothing is set aside\n"
    nc = await nats.connect(shell.run_file.nats_url)
    await nc.jetstream().publish(SUBSCRIPTION_CHANGED, b'{"user_id": "u", "new_tier": "platinum"}')
    await nc.close()

    async def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await shell.json("poison", "list"))["items"]
        return found

    async def is_set_aside() -> bool:
        return bool(await listed())

    await until_async(is_set_aside)
    (one,) = await listed()
    table = await shell("poison", "list")
    assert SUBSCRIPTION_CHANGED in table.out
    assert "platinum" in table.out
    again = await shell("poison", "retry", one["poison_id"])
    assert f"{one['poison_id']} is told again on {SUBSCRIPTION_CHANGED}" in again.out, again

    async def is_another() -> bool:
        return [other["poison_id"] for other in await listed()] not in ([], [one["poison_id"]])

    await until_async(is_another)  # it will never do
    (other,) = await listed()
    assert (await shell("poison", "drop", other["poison_id"])).out == f"{other['poison_id']} is forgotten\n"
    gone = await shell("poison", "drop", other["poison_id"])
    assert gone.code == 1, gone
    assert await listed() == []
    wrong = await shell("poison", "retry", "x")
    assert (wrong.code, "poison_id: is 'x'" in wrong.err) == (1, True), wrong


async def test_with_json_a_refusal_is_the_problem_object(shell: Shell) -> None:
    said = await shell("task", "show", "nobody", "--json")
    assert said.code == 1
    assert json.loads(said.err)["code"] == "not_found"


async def test_without_a_gnomon_it_says_how_to_start_one(tmp_path: Path) -> None:
    said = await gnomon("task", "list", cwd=tmp_path)
    assert said.code == 1
    assert "gnomon up" in said.err


async def test_explain_tells_what_ran_what_did_not_what_is_to_come_and_what_is_no_slot(shell: Shell) -> None:
    """A slot of every second sleeps for a while: those that come meanwhile are skipped."""
    flags = ("--type", "sleep", "--config", '{"seconds": 1.5}', "--every", "1s", "--overlap", "skip")
    assert (await shell("task", "create", "--id", "why", "--name", "Why", *flags)).code == 0

    async def told(name: str) -> list[Any]:
        said = await shell("events", "--json", name, "task_id=why")
        return [json.loads(line) for line in said.out.splitlines()]

    async def both() -> bool:
        return bool(await told("executed") and await told("skipped"))

    await until_async(both, 30)
    ran, skipped = (await told("executed"))[0], (await told("skipped"))[0]
    said = await shell("task", "explain", ran["execution_id"])
    assert said.out.splitlines()[0].endswith("completed")
    whats = [step["what"] for step in (await shell.json("task", "explain", ran["execution_id"]))["steps"]]
    assert whats == [*["schedule", "slot", "policy", "lease", "due", "started", "executed", "projection"]]
    said = await shell("task", "explain", "why", "--at", skipped["scheduled_for"])
    assert "It was skipped: an earlier execution of the task was still in flight (run 20" in said.out
    assert "overlap is skip" in said.out
    assert (await shell("task", "pause", "why", "--note", "enough")).code == 0
    said = await shell("task", "explain", "why", "--at", "2099-01-01T00:00:00Z")
    assert "falls into a pause that has not ended" in said.out
    assert "missed beyond 1 h" in said.out
    said = await shell("task", "explain", "why", "--at", "2099-01-01T00:00:00.500Z")
    assert "slots are whole seconds" in said.out
