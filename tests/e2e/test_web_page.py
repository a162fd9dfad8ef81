"""The web page in a real browser, on a real `gnomon up`: what people see there, and what they do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e.browser import Page, open_page
from tests.e2e.needing import needs
from tests.integration.cli.running_up import RunningUp
from tests.servers import reachable_folder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), needs("chromium")]

ROOT = Path(__file__).parents[2]
VIEWS = {
    "": "Now",
    "tasks": "Tasks",
    "tasks?status=paused&q=nothing": "Tasks",
    "task/web-talk": "Talk",
    "task/web-todo": "Pay the rent",
    "task/nowhere": "Not there",
    "task/100%": "This cannot be shown",
    "constructor": "Now",
    "runs": "Runs",
    "runs?status=failed,timed_out,missed": "Runs",
    "templates": "Templates",
    "template/todo": "To do",
    "template/daily-weather": "Daily weather",
    "account": "Your account",
    "analytics": "Analytics",
    "analytics?of=platform&days=1": "Analytics",
    "system": "System",
}
"""Every view, by its part of the address, with its heading."""


class Site:
    """A running Gnomon, seen by HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=30)

    async def post(self, path: str, body: Any) -> Any:
        """Ask for something that must be granted."""
        answer = await self.http.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def get(self, path: str) -> Any:
        """Read what must be there."""
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    with reachable_folder() as folder:
        up = RunningUp(folder / "data", "--tasks", "tests.integration.cli.talking", cwd=ROOT)
        await up.start()
        found = Site(up.run_file.url)
        await found.post("/tasks", {"task_id": "web-talk", "name": "Talk", "task_type": "talk"})
        await found.post("/tasks", {"task_id": "web-todo", "name": "Pay the rent", "task_type": "todo"})
        yield found
        await found.http.aclose()
        assert await up.stop() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    async with open_page(tmp_path_factory.mktemp("browser")) as found:
        await found.go(site.url)
        yield found
        assert found.faults == []


async def _go(page: Page, view: str, heading: str) -> None:
    await page.run(f"location.hash = '#/{view}'")
    await page.until(
        "[...document.querySelectorAll('main h2')].some(one => one.checkVisibility()"
        f" && one.textContent === '{heading}')"
    )


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (390, True)])
async def test_every_view_is_whole_named_and_readable_by_a_reader(
    site: Site, tmp_path: Path, width: int, dark: bool
) -> None:
    """No fault in its scripts, nothing beyond the window's edge, and all that is to be used has a name."""
    async with open_page(tmp_path / "browser", width=width, dark=dark) as page:
        await page.go(site.url)
        await page.until("document.getElementById('state').textContent === 'connected'")
        for view, heading in VIEWS.items():
            await _go(page, view, heading)
            assert await page.run("document.activeElement.textContent") == heading, "focus goes along"
            assert await page.run("document.documentElement.scrollWidth <= innerWidth"), view
            nameless = await page.run(
                "[...document.querySelectorAll('button, a, input, select, textarea')].filter(one =>"
                " one.checkVisibility() && !one.textContent.trim() && !one.ariaLabel"
                " && !(one.labels && one.labels.length)).length"
            )
            assert nameless == 0, view
            assert await page.run("document.querySelectorAll('nav [aria-current]').length") == 1, view
        assert page.faults == []


async def test_a_task_is_run_paused_and_resumed_where_it_is_shown(site: Site, page: Page) -> None:
    await site.post(
        "/tasks",
        {
            "task_id": "web-hourly",
            "name": "Hourly",
            "task_type": "echo",
            "config": {"say": "hi"},
            "schedule": {"kind": "interval", "hours": 1},
        },
    )
    await _go(page, "task/web-hourly", "Hourly")
    await page.press("Run now")
    await page.until("document.getElementById('said').textContent.startsWith('Runs now')")
    await page.shows("1 run, 0 failed")
    await page.press("Pause")
    await page.until(
        "[...document.querySelectorAll('main button')].some(one => one.textContent === 'Resume')"
    )
    assert (await site.get("/tasks/web-hourly"))["status"] == "paused"
    await page.press("Resume")
    await page.until("[...document.querySelectorAll('main button')].some(one => one.textContent === 'Pause')")
    assert (await site.get("/tasks/web-hourly"))["status"] == "scheduled"


async def test_what_went_wrong_is_found_read_and_run_again(site: Site, page: Page) -> None:
    await site.post(
        "/tasks",
        {
            "task_id": "web-bad",
            "name": "Bad",
            "task_type": "http_request",
            "config": {"url": f"{site.url}/nowhere"},
        },
    )
    run = await site.post("/tasks/web-bad/execute?wait=20", {})
    assert run["status"] == "failed"
    await _go(page, "runs?status=failed", "Runs")
    await page.shows("web-bad")
    await _go(page, f"run/{run['execution_id']}", "Run of Bad")
    await page.shows(run["error"]["message"])
    await page.shows("attempt 1")
    await page.press("Run it again")
    await page.until("document.getElementById('said').textContent.startsWith('It runs again as')")
    runs = await site.get("/tasks/web-bad/executions")
    assert {one["trigger"] for one in runs["items"]} == {"manual", "retry"}


async def test_a_log_is_read_where_its_run_is_shown(site: Site, page: Page) -> None:
    run = await site.post("/tasks/web-talk/execute?wait=20", {"config": {"again": True}})
    await _go(page, f"run/{run['execution_id']}", "Run of Talk")
    await page.shows("once more")
    await page.shows("of two lines")
    assert await page.run("document.querySelectorAll('main i.warning').length") >= 1


async def test_a_to_do_is_made_of_a_template_and_called_done(site: Site, page: Page) -> None:
    """What is missing is said by the field; times are the reader's own; done is one press."""
    await _go(page, "template/todo", "To do")
    await page.run(
        "document.querySelector('main form [name=name]').value = 'Water the plants',"
        "document.querySelector('main form [name=due_date]').value = '2031-07-01T09:30',"
        "document.querySelector('main form').requestSubmit()"
    )
    await page.until(
        "[...document.querySelectorAll('main h2')].some(one => one.textContent === 'Water the plants')"
    )
    made = (await site.get("/tasks?q=plants"))["items"][0]
    assert (made["due_date"], made["template_id"]) == ("2031-07-01T07:30:00.000Z", "todo"), "summer in Berlin"
    await page.press("Complete")
    await page.until("document.querySelector('main dl i').textContent === 'completed'")
    assert (await site.get(f"/tasks/{made['task_id']}"))["status"] == "completed"
    await page.press("Open again")
    await page.until("document.querySelector('main dl i').textContent === 'pending'")


async def test_a_refusal_names_the_field_and_goes_to_it(page: Page) -> None:
    await _go(page, "template/website-check", "Website check")
    await page.run(
        "document.querySelector('main form [name=url]').value = 'no address',"
        "document.querySelector('main form').requestSubmit()"
    )
    await page.until("document.getElementById('refused') !== null")
    assert "url" in await page.run("document.getElementById('refused').textContent")
    assert await page.run("document.activeElement.name") == "url"
    assert await page.run("document.activeElement.getAttribute('aria-invalid')") == "true"


async def test_who_is_out_of_credits_sees_it_and_is_topped_up(site: Site, page: Page) -> None:
    await site.post("/accounts/ann/credits", {"amount": 1, "kind": "topup"})
    balance = (await site.get("/accounts/ann"))["balance"]
    await site.post("/accounts/ann/credits", {"amount": -balance, "kind": "adjustment"})
    await _go(page, "account/ann", "Account of ann")
    await page.shows("out of credits")
    await page.run(
        "document.querySelector('main form [name=amount]').value = '12.5',"
        "document.querySelector('main form').requestSubmit()"
    )
    await page.shows("12.5 left of")
    assert (await site.get("/accounts/ann"))["balance"] == 12.5


async def test_a_slot_is_explained_where_its_task_is(site: Site, page: Page) -> None:
    await site.post(
        "/tasks",
        {
            "task_id": "web-daily",
            "name": "Daily",
            "task_type": "echo",
            "schedule": {"kind": "daily", "time": "09:00", "timezone": "Europe/Berlin"},
        },
    )
    await _go(page, "task/web-daily", "Daily")
    await page.run(
        "document.querySelector('main form input').value = '2031-07-01T09:01:00',"
        "document.querySelector('main form').requestSubmit()"
    )
    await page.shows("is no slot of the schedule")


async def test_a_pool_is_paused_and_the_last_day_audited_where_the_system_is(site: Site, page: Page) -> None:
    await _go(page, "system", "System")
    await page.press("Pause default")
    await page.press("Resume default")
    await page.until(
        "[...document.querySelectorAll('main button')].some(one => one.textContent === 'Pause default')"
    )
    changed = next(one for one in (await site.get("/pools"))["items"] if one["pool"] == "default")
    assert (changed["paused"], changed["version"]) == (False, 2)
    await page.press("Audit the last day")
    await page.shows("each has one outcome")


async def test_without_the_api_it_says_so_and_recovers(site: Site, tmp_path: Path) -> None:
    """What was shown stays, said to be old; a view that cannot be shown can be tried again."""
    async with open_page(tmp_path / "browser") as page:
        await page.go(site.url)
        await page.until("document.getElementById('state').textContent === 'connected'")
        away = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await page.send("Network.enable")
        await page.send("Network.emulateNetworkConditions", **away)
        await page.run("location.hash = '#/system'")
        await page.shows("The api does not answer")
        await page.send("Network.emulateNetworkConditions", **{**away, "offline": False})
        await page.press("Try again")
        await page.shows("led by 1 scheduler")


async def test_a_name_with_markup_is_only_shown(site: Site, page: Page) -> None:
    name = "<img src=x onerror=\"document.title='got you'\"><b>bold"
    await site.post("/tasks", {"task_id": "web-markup", "name": name, "task_type": "todo"})
    for view in ("", "tasks"):
        await page.run(f"location.hash = '#/{view}'")
        await page.shows(name)
    await page.run("location.hash = '#/task/web-markup'")
    await page.until("document.querySelector('main #view h2')?.textContent.startsWith('<img')")
    assert await page.run("document.querySelectorAll('main img, main b b').length") == 0
    assert await page.run("document.title") != "got you"
