"""What the command line makes of an api's answers; a real HTTP server gives those of a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gnomon_cli import server_sent
from gnomon_cli.api_client import ApiClient, ApiProblem, Foreign, Unreachable
from gnomon_cli.errors import CliError
from gnomon_cli.server_sent import followed, read_stream
from gnomon_cli.target import Target
from gnomon_core.runtime.embedded import free_port


class ScriptedApi(ThreadingHTTPServer):
    """Answers one request after the other with what `answers` holds, and notes what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    def will_answer(self, status: int, body: Any = None, **headers: str) -> None:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append(
            (status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
        )

    @property
    def target(self) -> Target:
        return Target(f"http://127.0.0.1:{self.server_port}", "secret", "a test")


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedApi

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.asked.append((self.command, self.path, dict(self.headers.items()), body))
        status, headers, content = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 (http.server finds its methods by these names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is http.server's)
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    server = ScriptedApi()
    thread = threading.Thread(target=server.serve_forever, name="scripted-api", daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(api: ScriptedApi) -> ApiClient:
    return ApiClient(api.target)


def test_a_request_carries_token_and_a_fresh_idempotency_key(api: ScriptedApi, client: ApiClient) -> None:
    api.will_answer(201, {"task_id": "t1"})
    api.will_answer(201, {"task_id": "t2"})
    assert client.post("/tasks", {"name": "n"}).body == {"task_id": "t1"}
    client.post("/tasks", {"name": "n"})
    (method, path, headers, body), (_, _, others, _) = api.asked
    assert (method, path, json.loads(body)) == ("POST", "/api/v1/tasks", {"name": "n"})
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Idempotency-Key"] != others["Idempotency-Key"]


def test_a_problem_names_the_flag_of_each_field_and_what_is_allowed(
    api: ScriptedApi, client: ApiClient
) -> None:
    api.will_answer(
        422,
        {
            "title": "The schedule is not valid",
            "status": 422,
            "code": "invalid_schedule",
            "errors": [
                {
                    "pointer": "#/schedule/expression",
                    "code": "x",
                    "message": "'* *' has 2 fields; allowed are 5 or 6",
                },
                {"pointer": "#/metadata/deep", "code": "x", "message": "too deep"},
            ],
        },
    )
    with pytest.raises(ApiProblem) as refused:
        client.post("/tasks", {})
    assert refused.value.lines() == [
        "error: The schedule is not valid",
        "  schedule.expression (--cron): '* *' has 2 fields; allowed are 5 or 6",
        "  metadata.deep: too deep",
    ]
    assert refused.value.exit_code == 1


def test_an_unavailable_api_says_when_to_try_again(api: ScriptedApi, client: ApiClient) -> None:
    api.will_answer(
        503, {"title": "Not available now", "detail": "no scheduler", "code": "unavailable"}, Retry_After="2"
    )
    with pytest.raises(ApiProblem) as refused:
        client.get("/tasks")
    assert refused.value.lines() == ["error: Not available now: no scheduler", "hint: try again in 2 s"]


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/tasks/t", "gnomon task list"),
        ("/templates/t", "gnomon template list"),
        ("/calendars/c", "gnomon calendar list"),
        ("/accounts/a", "gnomon account list"),
        ("/ecosystem/poison/p", "gnomon poison list"),
    ],
)
def test_what_is_not_there_is_told_with_the_command_that_lists_its_like(
    path: str, command: str, api: ScriptedApi, client: ApiClient
) -> None:
    api.will_answer(404, {"title": "Not found", "detail": "no such thing", "code": "not_found"})
    with pytest.raises(ApiProblem) as refused:
        client.get(path)
    assert command in refused.value.hint


@pytest.mark.parametrize("status", [200, 502])
def test_an_answer_that_is_not_gnomon_s_is_told_apart(
    status: int, api: ScriptedApi, client: ApiClient
) -> None:
    api.will_answer(status, b"<html>It works!</html>")
    with pytest.raises(CliError) as refused:
        client.get("/tasks")
    assert "something that is not Gnomon's JSON" in refused.value.message
    assert refused.value.details == ("<html>It works!</html>",)
    assert "comes from a test" in refused.value.hint


def test_a_command_whose_outcome_comes_late_is_followed_to_its_end(
    api: ScriptedApi, client: ApiClient
) -> None:
    api.will_answer(202, {"command_id": "c1", "status": "pending"}, Location="/api/v1/commands/c1")
    api.will_answer(200, {"command_id": "c1", "status": "pending"})
    api.will_answer(200, {"command_id": "c1", "status": "ok", "task_id": "t1", "execution_id": None})
    api.will_answer(200, {"task_id": "t1", "status": "scheduled"})
    assert client.post("/tasks", {}).body == {"task_id": "t1", "status": "scheduled"}
    assert [path for _, path, _, _ in api.asked] == [
        "/api/v1/tasks",
        "/api/v1/commands/c1",
        "/api/v1/commands/c1",
        "/api/v1/tasks/t1",
    ]


def test_a_command_that_is_refused_late_is_refused_all_the_same(api: ScriptedApi, client: ApiClient) -> None:
    api.will_answer(202, {"command_id": "c1", "status": "pending"})
    problem = {"status": 409, "code": "invalid_state", "title": "The task's state does not allow this"}
    api.will_answer(200, {"command_id": "c1", "status": "refused", "error": problem})
    with pytest.raises(ApiProblem, match="does not allow this"):
        client.post("/tasks/t1/pause", {})


def test_a_deletion_whose_outcome_comes_late_leaves_nothing_to_show(
    api: ScriptedApi, client: ApiClient
) -> None:
    api.will_answer(202, {"command_id": "c1", "status": "pending"})
    api.will_answer(200, {"command_id": "c1", "status": "ok", "task_id": "t1"})
    api.will_answer(404, {"status": 404, "code": "not_found", "title": "There is no such object"})
    assert client.delete("/tasks/t1").body is None


def test_where_nobody_listens_it_says_how_to_start_one() -> None:
    with pytest.raises(Unreachable) as refused:
        ApiClient(Target(f"http://127.0.0.1:{free_port()}", None, "GNOMON_URL")).get("/tasks")
    assert "cannot reach Gnomon at http://127.0.0.1:" in refused.value.message
    assert "(from GNOMON_URL)" in refused.value.message
    assert "gnomon up" in refused.value.hint


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    api.will_answer(200, {"items": []})
    assert ApiClient(api.target).get("/tasks").status == 200


def test_a_stream_of_events_is_put_together_and_comments_are_dropped() -> None:
    lines = [
        ": hello",
        "",
        "id: 7",
        "event: task.executed",
        'data: {"a":',
        "data: 1}",
        "",
        "event: gap",
        "data:",
        "",
    ]
    assert [tuple(event) for event in read_stream(lines)] == [
        ("7", "task.executed", '{"a":\n1}'),
        ("", "gap", ""),
    ]


def test_a_followed_stream_is_gone_back_to_after_what_came_last(api: ScriptedApi, client: ApiClient) -> None:
    api.will_answer(200, b"id: 7\nevent: a\ndata: 1\n\n")
    api.will_answer(503, {"title": "Away"})
    api.will_answer(200, b"event: b\ndata: 2\n\nid: 9\nevent: c\ndata: 3\n\n")
    api.will_answer(404, {"title": "Gone"})
    told: list[str] = []
    began: list[bool] = []
    stream = followed(client, "/events", {"x": "y"}, told.append, connected=lambda: began.append(True))
    assert [next(stream).data for _ in range(3)] == ["1", "2", "3"]
    with pytest.raises(ApiProblem, match="Gone"):
        next(stream)
    assert told == ["Away; trying again"]
    assert began == [True]
    assert [headers.get("Last-Event-Id") for _, _, headers, _ in api.asked] == [None, "7", "7", "9"]


def test_a_followed_stream_outlasts_a_proxy_that_cannot_reach_the_api(
    api: ScriptedApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy speaks HTML; what it answers passes or does not, by its status, as what the api answers."""
    monkeypatch.setattr(server_sent, "_AGAIN_SECONDS", 0.01)
    api.will_answer(200, b"id: 7\ndata: 1\n\n")
    for status in (502, 503, 504):
        api.will_answer(status, b"<html>Away</html>")
    api.will_answer(200, b"id: 8\ndata: 2\n\n")
    api.will_answer(403, b"<html>Not for you</html>")
    told: list[str] = []
    stream = followed(client, "/events", {}, told.append)
    assert [next(stream).data for _ in range(2)] == ["1", "2"]
    with pytest.raises(Foreign) as refused:
        next(stream)
    assert refused.value.status == 403
    assert [status for text in told for status in ("502", "503", "504") if f"answered {status} " in text] == [
        "502",
        "503",
        "504",
    ]
    assert [headers.get("Last-Event-Id") for _, _, headers, _ in api.asked] == [None, "7", "7", "7", "7", "8"]


def test_a_stream_that_cannot_be_had_at_first_is_refused(api: ScriptedApi, client: ApiClient) -> None:
    api.will_answer(503, {"title": "Away"})
    with pytest.raises(ApiProblem, match="Away"):
        next(followed(client, "/events", {}, print))
    with pytest.raises(Unreachable):
        next(followed(ApiClient(Target(f"http://127.0.0.1:{free_port()}", "", "t")), "/events", {}, print))
