"""Accounts and credits over HTTP, from the handler's usage to the double entry; limits over both doors."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from gnomon_api.readmodels import rebuild
from gnomon_scheduler.budget_registers import BudgetRegister
from gnomon_schemas import subjects
from gnomon_schemas.accounts import account_id_of, micros_of
from gnomon_schemas.codec import decode
from tests.harness.commands import fresh_id
from tests.harness.events import Seen
from tests.harness.over_http import OverHttp
from tests.harness.waiting import until_async
from tests.harness.world import World, tell

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

_OUTCOMES = ("executed", "skipped")
OPENING = 100.0
"""`GNOMON_INITIAL_CREDITS` by default."""


def of(user: str) -> dict[str, str]:
    """The headers of a request of this user."""
    return {"X-User-Id": user}


async def _task(http: OverHttp, user: str, **spec: Any) -> dict[str, Any]:
    body = {"name": "n", "task_type": "echo", "config": {}, **spec}
    answer = await http.client.post("/tasks", json=body, headers=of(user))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_an_account_is_set_credited_and_shown(running: World, http: OverHttp) -> None:
    user = fresh_id("u")
    mine = await http.client.get("/account", headers=of(user))
    assert (mine.json()["tier"], mine.json()["version"], mine.json()["balance"]) == ("free", 0, OPENING)
    put = await http.client.put(f"/accounts/{user}", json={"tier": "pro", "limits": {"max_tasks": 9}})
    assert put.status_code == 200, put.text
    shown = put.json()
    assert (shown["tier"], shown["limits"], shown["balance"]) == ("pro", {"max_tasks": 9}, OPENING)
    assert shown["effective_limits"]["max_tasks"] == 9
    assert shown == await http.get(f"/accounts/{user}")
    same = await http.client.put(f"/accounts/{user}", json=shown, headers={"If-Match": '"1"'})
    assert (same.status_code, same.json()["version"]) == (200, 1), same.text
    stale = await http.client.patch(f"/accounts/{user}", json={"tier": "free"}, headers={"If-Match": '"7"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "version_mismatch")
    key = {"Idempotency-Key": fresh_id("k")}
    for _ in range(2):
        given = await http.client.post(
            f"/accounts/{user}/credits", json={"amount": 12.5, "reference": "r-1"}, headers=key
        )
        assert (given.status_code, given.json()["balance"]) == (200, OPENING + 12.5), given.text
    entries = (await http.client.get("/account/entries", headers=of(user))).json()["items"]
    assert [(one["kind"], one["amount"], one["reference"]) for one in entries] == [
        ("topup", 12.5, "r-1"),
        ("opening", OPENING, None),
    ]
    first = await http.get(f"/accounts/{user}/entries", limit=1)
    second = await http.get(f"/accounts/{user}/entries", limit=1, cursor=first["next_cursor"])
    assert [*first["items"], *second["items"]] == entries
    history = (await http.get(f"/accounts/{user}/history"))["items"]
    assert [one["what"] for one in history] == ["credited", "updated"]
    listed = await http.get("/accounts", limit=500)
    assert user in {one["user_id"] for one in listed["items"]}


@pytest.mark.parametrize("user", ["{}/b", "{}/credits", "Ã©{}", "%2F{}?x=1&y"])
async def test_any_user_id_has_an_account_over_http(running: World, http: OverHttp, user: str) -> None:
    """Also one with slashes: there was nothing at its address."""
    user = user.format(fresh_id("u"))
    path = f"/accounts/{quote(user, safe='')}"
    made = await http.client.put(path, json={"tier": "basic"})
    assert (made.status_code, made.json()["user_id"]) == (200, user), made.text
    given = await http.client.post(f"{path}/credits", json={"amount": 1})
    assert given.status_code == 200, given.text
    kinds = [one["kind"] for one in (await http.get(f"{path}/entries"))["items"]]
    assert kinds == ["topup", "opening"]
    shown = (await http.client.get("/account", headers=[(b"X-User-Id", user.encode())])).json()
    assert (shown["user_id"], shown["tier"], shown["balance"]) == (user, "basic", OPENING + 1)


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("PUT", "", {"tier": "gold"}, "#/tier"),
        ("PUT", "", {"limits": {"max_concurrent": 0}}, "#/limits/max_concurrent"),
        ("POST", "/credits", {"amount": -1}, "#/amount"),
        ("GET", "/entries?limit=0", None, "#/limit"),
        ("GET", "/entries?cursor=x", None, "#/cursor"),
    ],
)
async def test_what_does_not_fit_is_refused_by_its_field(
    running: World, http: OverHttp, method: str, path: str, body: Any, pointer: str
) -> None:
    answer = await http.client.request(method, f"/accounts/{fresh_id('u')}{path}", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


async def test_br_exe_004_credits_are_consumed_once_and_the_books_agree(
    running: World, http: OverHttp, postgres_url: str
) -> None:
    """Success costs the price, failure what the handler said; the rest is skipped, and a top-up is felt at once."""
    user = fresh_id("u")
    good = await _task(http, user, credits_per_run=30)
    bad = await _task(http, user, credits_per_run=30, task_type="policy_scripted", config={"steps": ["fail"]})
    for task, status in ((good, "completed"), (bad, "failed"), (good, "completed"), (good, "completed")):
        run = await http.client.post(f"/tasks/{task['task_id']}/execute?wait=15", json={}, headers=of(user))
        assert (run.status_code, run.json()["status"]) == (200, status), run.text
        assert run.json()["credits_consumed"] == (30 if status == "completed" else 0)
    skipped = await http.client.post(f"/tasks/{good['task_id']}/execute?wait=15", json={}, headers=of(user))
    assert (skipped.json()["status"], skipped.json()["reason"]) == ("skipped", "credits"), skipped.text
    await http.post(f"/accounts/{user}/credits", {"amount": 20, "kind": "grant"})
    again = await http.client.post(f"/tasks/{good['task_id']}/execute?wait=15", json={}, headers=of(user))
    assert again.json()["status"] == "completed", again.text

    async def all_written() -> bool:
        return bool((await http.get(f"/accounts/{user}"))["consumed"] == 120)

    await until_async(all_written)
    account = await http.get(f"/accounts/{user}")
    assert (account["balance"], account["credited"]) == (0, 120)
    connection = await asyncpg.connect(postgres_url)
    try:
        books = await connection.fetch(
            "select book, sum(amount)::bigint as sum from credit_entries where user_id = $1 group by book",
            user,
        )
        assert {row["book"]: row["sum"] for row in books} == {
            "user": 0, "opening": -100_000_000, "grant": -20_000_000, "consumption": 120_000_000
        }  # fmt: skip
        crooked = await connection.fetchval(
            "select count(*) from (select seq from credit_entries group by seq having sum(amount) <> 0) as off"
        )
        assert crooked == 0
        wrong = await connection.fetchval(
            "select count(*) from credit_balances b where balance <> (select sum(amount) from credit_entries e "
            "where e.user_id = b.user_id and book = 'user')"
        )
        assert wrong == 0
    finally:
        await connection.close()
    assert (await rebuild.verify(postgres_url)).differing == []


async def test_nothing_is_let_go_while_a_balance_is_below_zero_whatever_it_costs(
    running: World, http: OverHttp
) -> None:
    """A task without a price whose handler reports credits is held back like others once they are overdrawn."""
    user = fresh_id("u")
    free = await _task(http, user)
    spends = await _task(http, user, task_type="policy_spending", config={"credits": 60, "fails_every": 0})

    async def ran(task: dict[str, Any]) -> tuple[str, str | None]:
        run = await http.client.post(f"/tasks/{task['task_id']}/execute?wait=15", json={}, headers=of(user))
        assert run.status_code == 200, run.text
        return run.json()["status"], run.json()["reason"]

    assert await ran(spends) == ("completed", None)
    assert await ran(free) == ("completed", None)
    assert await ran(spends) == ("completed", None)  # nobody knew that it would cost 20 more than there were

    async def held_back() -> bool:
        return await ran(spends) == ("skipped", "credits")

    await until_async(held_back)
    account = await http.get(f"/accounts/{user}")
    assert account["balance"] < 0
    await http.post(f"/accounts/{user}/credits", {"amount": 100_000, "kind": "topup"})

    async def goes_on() -> bool:
        return await ran(spends) == ("completed", None)

    await until_async(goes_on)
    assert await ran(free) == ("completed", None)


async def test_limits_are_kept_over_both_doors_and_a_dry_run_tells_the_same(
    running: World, http: OverHttp
) -> None:
    user = fresh_id("u")

    async def refused(method: str, path: str, body: Any) -> dict[str, Any]:
        """What the request is refused for, and its dry run too."""
        dry = await http.client.request(method, f"{path}?dry_run=true", json=body, headers=of(user))
        real = await http.client.request(method, path, json=body, headers=of(user))
        told = [
            {key: value for key, value in answer.json().items() if key not in ("trace_id", "instance")}
            for answer in (dry, real)
        ]
        assert told[0] == told[1]
        return told[1]

    await http.client.put(
        f"/accounts/{user}", json={"limits": {"max_tasks": 1, "min_interval_seconds": 3600}}
    )
    often, daily = {"kind": "cron", "expression": "*/5 * * * *"}, {"kind": "daily", "time": "07:00"}
    body = {"name": "n", "task_type": "echo", "schedule": often}
    over_http = await refused("POST", "/tasks", body)
    assert (over_http["status"], over_http["code"]) == (403, "account_limit")
    assert over_http["errors"][0]["pointer"] == "#/schedule"
    over_nats = await running.commands.send("create", fresh_id("t"), body, headers={"Gnomon-User": user})
    assert over_nats["error"]["code"] == "account_limit"
    template = await http.post("/templates", {"name": "t", "task_type": "echo", "defaults": {}})
    task = await _task(http, user, schedule=daily)
    for schedule in (None, daily):
        assert (await refused("POST", "/tasks", {**body, "schedule": schedule}))["code"] == "account_limit"
    made = await refused("POST", f"/templates/{template['template_id']}/instantiate", {"name": "n"})
    assert "max_tasks of the account is 1" in made["detail"]
    faster = await refused("PATCH", f"/tasks/{task['task_id']}", {"schedule": often})
    assert faster["errors"][0]["pointer"] == "#/schedule"
    await http.client.delete(f"/tasks/{task['task_id']}", headers=of(user))
    last = await _task(http, user, schedule=daily)
    await running.commands.ok("complete", last["task_id"], {})
    closed = await http.client.patch(f"/accounts/{user}", json={"closed": True, "closed_note": "moved away"})
    assert (closed.json()["closed"], closed.json()["closed_note"]) == (True, "moved away"), closed.text

    async def heard() -> bool:
        answer = await http.client.post("/tasks", json={**body, "schedule": daily}, headers=of(user))
        return bool(answer.json().get("code") == "account_closed")

    await until_async(heard)
    assert (await refused("POST", "/tasks", {**body, "schedule": daily}))["code"] == "account_closed"
    again = await refused("PATCH", f"/tasks/{last['task_id']}", {"status": "scheduled"})
    assert again["code"] == "account_closed"
    run = await http.client.post(f"/tasks/{last['task_id']}/execute", json={}, headers=of(user))
    assert run.json()["code"] == "account_closed", run.text
    opened = await http.client.patch(f"/accounts/{user}", json={"closed": False})
    assert (opened.json()["closed"], opened.json()["closed_note"]) == (False, None), opened.text


async def test_a_service_sets_the_tier_over_nats_and_templates_open(running: World, http: OverHttp) -> None:
    """As `subscription_service.subscription.changed` does."""
    user = fresh_id("u")
    template = await http.post(
        "/templates",
        {"name": "For pros", "task_type": "echo", "required_subscription_level": "pro", "defaults": {}},
    )
    make = f"/templates/{template['template_id']}/instantiate"
    closed = await http.client.post(make, json={}, headers=of(user))
    assert (closed.status_code, closed.json()["code"]) == (403, "subscription_required"), closed.text
    await running.commands.ok("update", account_id_of(user), {"tier": "pro"}, kind="account")

    async def open_now() -> bool:
        return (await http.client.post(make, json={}, headers=of(user))).status_code == 201

    await until_async(open_now)
    assert (await http.client.get("/account", headers=of(user))).json()["tier"] == "pro"


async def test_accounts_from_the_command_line(running: World, http: OverHttp) -> None:
    user = fresh_id("u")
    url = str(http.client.base_url).removesuffix("/api/v1/").removesuffix("/api/v1")

    async def gnomon(*arguments: str) -> str:
        said = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "gnomon_cli", "account", *arguments, "--url", url],
            capture_output=True,
            check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        )
        assert said.returncode == 0, said.stderr.decode()
        return said.stdout.decode()

    assert f"{user} pro, version 1" in await gnomon("set", user, "--tier", "pro", "--max-tasks", "7")
    told = await gnomon("credit", user, "20.5", "--reference", "invoice 7")
    assert "120.5 left of 120.5 given, 0 consumed" in told
    assert "limits: max_tasks 7" in await gnomon("show", user)
    entries = await gnomon("entries", user)
    assert "+20.5" in entries
    assert "invoice 7" in entries
    assert "limits.max_tasks" in await gnomon("history", user)
    assert user in await gnomon("list", "--limit", "500")
    assert "limits: none" in await gnomon("set", user, "--tier-limits")
    assert "closed: moved away" in await gnomon("set", user, "--close", "--closed-note", "moved away")
    assert "closed" not in await gnomon("set", user, "--open")


async def test_what_is_spent_is_bounded_and_soon_known(
    running: World, http: OverHttp, postgres_url: str
) -> None:
    """Twice as many runs as can be paid, asked for at once in both shards: none too many goes. It tells the lags."""
    user, price, paid = fresh_id("u"), 2.0, 50
    tasks = [running.task_in(partition, fresh_id("t")[:12] + "-") for partition in (0, 1)]
    for task in tasks:
        await running.commands.create(
            task, overlap="allow", credits_per_run=price, headers={"Gnomon-User": user}
        )
    begun = time.monotonic()
    await asyncio.gather(*(running.commands.ok("run", task) for task in tasks * paid))

    def outcomes() -> list[Seen]:
        return [seen for seen in running.events.all if seen.task_id in tasks and seen.name in _OUTCOMES]

    await running.events.wait_for(lambda: len(outcomes()) == 2 * paid, within=30)
    all_out = time.monotonic()
    assert [seen.name for seen in outcomes()].count("executed") == paid == OPENING / price

    async def known() -> bool:
        account = account_id_of(user)
        subject = subjects.budget_register(running.partition(account), account)
        last = await running.bus.last(subjects.EVENTS_STREAM, subject)
        shares = () if last is None else decode(last.data, BudgetRegister).shares
        return sum(share.used for share in shares) == micros_of(OPENING)

    async def entered() -> bool:
        return bool((await http.get(f"/accounts/{user}"))["balance"] == 0)

    await until_async(entered)
    in_books = time.monotonic()
    await until_async(known)
    settled = time.monotonic()
    await running.commands.ok("credit", account_id_of(user), {"amount": price}, kind="account")
    given = time.monotonic()
    await running.commands.ok("run", tasks[0])
    await running.events.wait_for(lambda: len(outcomes()) == 2 * paid + 1)
    again = time.monotonic()
    assert outcomes()[-1].name == "executed"
    tell(
        f"{2 * paid} runs asked for, {paid} paid and run, 0 too many, in {all_out - begun:.2f} s; from the last "
        f"to the books {in_books - all_out:.2f} s, to the account's shard {settled - all_out:.2f} s; "
        f"from a top-up to the end of the next run {again - given:.2f} s"
    )


async def test_max_tasks_holds_over_all_shards_at_once(running: World, http: OverHttp) -> None:
    """Far more tasks than are allowed, asked for at the same instant in every shard: exactly as many are made."""
    user, most, asked = fresh_id("u"), 30, 120
    await running.commands.ok("update", account_id_of(user), {"limits": {"max_tasks": most}}, kind="account")

    async def known() -> bool:
        return bool((await http.get(f"/accounts/{user}"))["limits"] == {"max_tasks": most})

    await until_async(known)
    body = {"name": "n", "task_type": "echo"}
    tasks = [running.task_in(number % 2, fresh_id("t")[:12] + "-") for number in range(asked)]
    headers = {"Gnomon-User": user}
    outcomes = await asyncio.gather(
        *(running.commands.send("create", task, body, headers=headers) for task in tasks)
    )
    made = sum(outcome["ok"] for outcome in outcomes)
    codes = {outcome["error"]["code"] for outcome in outcomes if not outcome["ok"]}
    tell(f"{asked} tasks asked for at once in two shards, {most} allowed, {made} made")
    assert (made, codes) == (most, {"account_limit"})
