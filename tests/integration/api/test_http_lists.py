"""Lists of tasks over HTTP: filters, orders, pages, and parameters that are refused."""

from __future__ import annotations

import base64

import pytest

from tests.integration.api.conftest import Running
from tests.integration.api.test_http_tasks import API, body, create, fresh_id, is_problem


async def test_lists_filter_sort_and_page(running: Running) -> None:
    marker = fresh_id("list")
    for number in range(7):
        await create(
            running,
            name=f"Job {number} 100%_x",
            tags=[marker, f"n{number}"],
            priority="high" if number % 2 else "low",
            metadata={"n": number, "team": "blue" if number < 3 else "red", "on": number == 1},
            schedule={"kind": "interval", "hours": number + 1} if number else None,
            due_date=f"2030-01-0{number + 1}T00:00:00Z",
        )

    async def names(**params: str) -> list[str]:
        found = await running.http.get(f"{API}/tasks", params={"tag": marker, "sort": "name", **params})
        assert found.status_code == 200, found.text
        return [item["name"][4] for item in found.json()["items"]]

    assert await names() == list("0123456")
    assert await names(sort="-name") == list("6543210")
    assert await names(priority="high") == list("135")
    assert await names(priority="high,low", tag=f"{marker}-none,n2,n4") == list("24")
    assert await names(status="pending") == list("0")
    assert await names(status="scheduled,pending", sort="next_run_time") == list("1234560")
    assert await names(q="job 3") == list("3")
    assert await names(q="100%_x") == list("0123456")
    assert await names(q="jo 100") == list("0123456")  # words may go on
    assert await names(q="ob 3") == []  # but begin where words do
    assert await names(q='"job 3" -x') == []
    assert await names(q="job -5") == list("012346")
    assert await names(q="n4") == list("4")  # a tag
    assert await names(q="'&|!(:*") == []  # no word at all
    assert await names(**{"metadata.team": "blue"}) == list("012")
    assert await names(**{"metadata.n": "4,5"}) == list("45")
    assert await names(**{"metadata.on": "true", "metadata.team": "blue"}) == list("1")
    assert await names(due_after="2030-01-03T00:00:00Z", due_before="2030-01-06T00:00:00Z") == list("34")
    assert await names(next_run_before="2020-01-01T00:00:00Z") == []
    assert await names(created_after="2020-01-01T00:00:00+02:00") == list("0123456")
    assert await names(created_before="2020-01-01T00:00:00Z") == []
    assert await names(user_id="local", task_type="echo") == list("0123456")
    assert await names(user_id="someone") == []
    assert await names(template_id="t") == []


@pytest.mark.parametrize(
    "sort", ["created_at", "-created_at", "next_run_time", "-next_run_time", "due_date", "name"]
)
async def test_pages_follow_each_other_without_gaps(running: Running, sort: str) -> None:
    marker = fresh_id("page")
    for number in range(8):
        schedule = {"kind": "interval", "hours": 1} if number % 3 else None
        await create(running, tags=[marker], name=f"same {number // 2}", schedule=schedule)
    params = {"tag": marker, "sort": sort}
    whole = (await running.http.get(f"{API}/tasks", params=params)).json()
    assert whole["next_cursor"] is None
    expected = [item["task_id"] for item in whole["items"]]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await running.http.get(
            f"{API}/tasks", params={**params, "limit": "3", **({"cursor": cursor} if cursor else {})}
        )
        seen += [item["task_id"] for item in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert len(expected) == 8
    assert seen == expected


ENDS = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00.001Z",
    "9999-12-31T23:59:59.9999999Z",
    "9999-12-31T23:59:59Z",
]
"""The least and the greatest time of some languages, which callers send for `ever`."""


@pytest.mark.parametrize("end", ENDS)
async def test_the_ends_of_time_are_bounds_like_others(running: Running, end: str) -> None:
    task = await create(running, schedule={"kind": "interval", "minutes": 5})
    for name in ("created_after", "created_before", "due_after", "due_before", "next_run_before"):
        assert (await running.http.get(f"{API}/tasks", params={name: end})).status_code == 200, name
    for sort in ("recorded_at", "scheduled_for", "-completed_at"):
        for name in ("scheduled_after", "scheduled_before"):
            found = await running.http.get(f"{API}/executions", params={name: end, "sort": sort})
            assert found.status_code == 200, (name, sort)
    for path, names in (
        ("ledger/audit", ("since", "until")),
        ("forecast", ("from", "to")),
        (f"tasks/{task['task_id']}/explain", ("at",)),
        (f"tasks/{task['task_id']}", ("at",)),
    ):
        for name in names:
            answer = await running.http.get(f"{API}/{path}", params={name: end})
            assert answer.status_code in (200, 404, 422), (path, name, answer.text)


async def test_a_due_date_before_1970_is_a_mistake(running: Running) -> None:
    """Postgres has no least year that Python has: a list in that order would break for everybody."""
    response = await running.http.post(f"{API}/tasks", json=body(due_date=ENDS[0]))
    assert is_problem(response, 422, "invalid")["errors"][0]["pointer"] == "#/due_date"


async def test_a_cursor_with_a_character_that_no_text_has_is_refused(running: Running) -> None:
    cursor = base64.urlsafe_b64encode(b'["-created_at","2026-01-01T00:00:00+00:00","x\\u0000"]').decode()
    is_problem(await running.http.get(f"{API}/tasks", params={"cursor": cursor}), 422, "invalid")


async def test_parameters_that_are_wrong_are_all_named(running: Running) -> None:
    response = await running.http.get(
        f"{API}/tasks",
        params={
            "limit": "0",
            "sort": "color",
            "cursor": "zzz",
            "statsu": "x",
            "status": "sleepy",
            "created_after": "soon",
            "metadata": "x",
        },
    )
    problem = is_problem(response, 422, "invalid")
    assert {error["pointer"] for error in problem["errors"]} == {
        "#/limit",
        "#/sort",
        "#/cursor",
        "#/statsu",
        "#/status",
        "#/created_after",
        "#/metadata",
    }
    first = await running.http.get(f"{API}/tasks", params={"limit": "1", "sort": "name"})
    cursor = first.json()["next_cursor"]
    other = await running.http.get(f"{API}/tasks", params={"cursor": cursor, "sort": "created_at"})
    assert is_problem(other, 422, "invalid")["errors"][0]["pointer"] == "#/cursor"
