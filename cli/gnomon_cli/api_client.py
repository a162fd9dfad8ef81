"""The HTTP API as the command line uses it: one request, one answer, and every failure as help.

On the standard library: importing a larger HTTP client takes longer than all the rest of a command.
"""

from __future__ import annotations

import http.client
import ipaddress
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from gnomon_cli.errors import CliError
from gnomon_cli.target import Target

__all__ = ["Answer", "ApiClient", "ApiProblem", "Foreign", "Unreachable"]

PREFIX = "/api/v1"

_FLAGS = {
    "#/task_id": "--id",
    "#/name": "--name",
    "#/task_type": "--type",
    "#/config": "--config",
    "#/schedule/expression": "--cron",
    "#/schedule/every_seconds": "--every",
    "#/schedule/time": "--daily",
    "#/schedule/max_runs": "--max-runs",
    "#/schedule/at": "--at",
    "#/schedule/timezone": "--timezone",
    "#/schedule/start_at": "--start-at",
    "#/schedule/end_at": "--end-at",
    "#/schedule/jitter_seconds": "--jitter",
    "#/overlap": "--overlap",
    "#/priority": "--priority",
    "#/pool": "--pool",
    "#/timeout_seconds": "--timeout",
    "#/retry/max_attempts": "--attempts",
    "#/tags": "--tag",
    "#/due_date": "--due",
    "#/reminder_time": "--remind",
    "#/due_before": "--due-before",
    "#/days": "--days",
    "#/trigger_data": "--trigger-data",
    "#/at": "--at",
    "#/from": "--from",
    "#/to": "--to",
    "#/concurrency": "--concurrency",
    "#/max_in_flight": "--max-in-flight",
    "#/until": "--until",
    "#/note": "--note",
    "#/count": "--count",
    "#/status": "--status",
    "#/since": "--since",
    "#/bucket": "--bucket",
    "#/tolerance": "--tolerance",
    "#/timezone": "--timezone",
    "#/metadata": "--metadata",
    "#/amount": "CREDITS",
    "#/kind": "--kind",
    "#/lateness_slo_seconds": "--lateness-slo",
    "#/expires_seconds": "--expires",
    "#/heartbeat/url": "--heartbeat",
    "#/limit": "--limit",
    "#/sort": "--sort",
    "#/cursor": "--cursor",
}
"""Which flag fills the field that a problem points to; so a refusal names what was typed."""

_HINTS = {
    "version_mismatch": "read it again with `gnomon task show`, then repeat the change",
    "template_not_found": "`gnomon template list` shows the templates there are",
    "deleted": "choose another --id: that of a deleted task stays taken for a while",
    "overlap": "wait until it has finished, or run it with --overlap allow",
}

_LISTED_BY = {
    "tasks": "`gnomon task list` shows the tasks there are",
    "executions": "`gnomon task show ID` shows a task's last executions",
    "templates": "`gnomon template list` shows the templates there are",
    "calendars": "`gnomon calendar list` shows the calendars there are",
    "accounts": "`gnomon account list` shows the accounts there are",
    "ecosystem": "`gnomon poison list` shows what is set aside",
}
"""What to do about something that is not there, by the first part of its path."""

_COMMAND_WAIT_SECONDS = 10.0
_COMMAND_POLL_SECONDS = 0.25


class ApiProblem(CliError):
    """Gnomon refused the request. `problem` is its problem object, as received."""

    def __init__(self, status: int, problem: Mapping[str, Any], *, hint: str = "") -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code", ""))
        title = str(problem.get("title") or f"HTTP status {status}")
        detail = str(problem.get("detail") or "")
        fields = [_field(error) for error in problem.get("errors") or ()]
        super().__init__(
            # The detail says the same as the fields do, for those who look at no more than one line.
            title if fields or not detail else f"{title}: {detail}",
            details=fields,
            hint=hint or _HINTS.get(self.code, ""),
        )


class Foreign(CliError):
    """What came back is not Gnomon's: a proxy in front of it answered, or it is no Gnomon. `status` is that of HTTP."""

    def __init__(self, status: int, message: str, *, details: Sequence[str] = (), hint: str = "") -> None:
        self.status = status
        super().__init__(message, details=details, hint=hint)


class Unreachable(CliError):
    """Nobody answers, or the connection broke: trying again may help."""


class Answer(NamedTuple):
    """What came back: HTTP status, decoded body (None for an empty one), and the raw body."""

    status: int
    body: Any
    raw: bytes


class ApiClient:
    """Speaks to one api. `timeout` in seconds is for each wait on the network."""

    def __init__(self, target: Target, *, timeout: float = 30.0) -> None:
        self._target = target
        self._timeout = timeout
        # A proxy of the environment cannot reach this machine's own loopback address.
        proxies = urllib.request.ProxyHandler({} if _is_loopback(target.url) else None)
        self._opener = urllib.request.build_opener(proxies)

    def get(self, path: str, **params: str | int | None) -> Answer:
        """Read. Parameters that are None are left out.

        Raises `ApiProblem` where it is refused, `Unreachable` where nobody answers, `Foreign` where no Gnomon does.
        """
        return self._request("GET", path, params={k: v for k, v in params.items() if v is not None})

    def get_text(self, path: str, **params: str | int | None) -> bytes:
        """Read what is no JSON. Raises like `get`."""
        given = {k: v for k, v in params.items() if v is not None}
        with (
            self._reached(),
            self._open(
                "GET", PREFIX + path, None, given, {"Accept": "*/*"}, timeout=self._timeout
            ) as response,
        ):
            return response.read()

    def get_outside(self, path: str) -> Answer:
        """Read what is not under `/api/v1`, as `/health`."""
        return self._request("GET", path, prefix="")

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str | int] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Ask for something, once: a repetition by the network is recognised.

        Waits for an outcome that is late. Raises like `get`.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._settled(
            self._request("POST", path, body, params=params, headers=headers, timeout=timeout)
        )

    def patch(self, path: str, body: Any, *, params: Mapping[str, str | int] | None = None) -> Answer:
        """Change. Raises like `get`."""
        return self._settled(self._request("PATCH", path, body, params=params))

    def delete(self, path: str) -> Answer:
        """Delete. Raises like `get`."""
        return self._settled(self._request("DELETE", path))

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> Iterator[Iterator[str]]:
        """Open a stream of lines that ends when the server ends it.

        Raises like `get`, on opening and on reading.
        """
        # A comment comes more often than this; without any, the connection is taken for dead.
        with self._reached():
            with self._open("GET", PREFIX + path, None, params, headers, timeout=60.0) as response:
                yield (line.decode(errors="replace").rstrip("\r\n") for line in response)

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        prefix: str = PREFIX,
    ) -> Answer:
        content = None if body is None else msgspec.json.encode(body)
        with self._reached():
            with self._open(
                method, prefix + path, content, params or {}, headers or {}, timeout=timeout or self._timeout
            ) as response:
                raw = response.read()
        return Answer(response.status, self._decoded(response.status, raw), raw)

    def _open(
        self,
        method: str,
        path: str,
        content: bytes | None,
        params: Mapping[str, str | int],
        headers: Mapping[str, str],
        *,
        timeout: float,
    ) -> http.client.HTTPResponse:
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        request = urllib.request.Request(f"{self._target.url}{path}{query}", data=content, method=method)
        send = {"User-Agent": "gnomon-cli", "Accept": "application/json", **headers}
        if content is not None:
            send["Content-Type"] = "application/json"
        if self._target.token:
            send["Authorization"] = f"Bearer {self._target.token}"
        for name, value in send.items():
            request.add_header(name, value)
        try:
            response: http.client.HTTPResponse = self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as refusal:
            with refusal:
                retry_after = refusal.headers.get("Retry-After")
                raise self._refused(refusal.code, path, retry_after, refusal.read()) from None
        return response

    def _settled(self, answer: Answer) -> Answer:
        """Follow a command whose outcome did not come within the api's own wait, to the state after it."""
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status != 202 or "command_id" not in body:
            return answer
        command = body["command_id"]
        deadline = time.monotonic() + _COMMAND_WAIT_SECONDS
        while time.monotonic() < deadline:
            found = self.get(f"/commands/{command}")
            if found.body.get("status") == "ok":
                return self._state_after(found)
            if found.body.get("status") == "refused":
                problem = found.body.get("error") or {}
                raise ApiProblem(int(problem.get("status", 422)), problem)
            # The api has no way to wait on this route: what became of a command is only read.
            time.sleep(_COMMAND_POLL_SECONDS)
        raise CliError(
            f"command {command} was accepted, and after {_COMMAND_WAIT_SECONDS:g} s nobody has decided it",
            hint="it is stored and will be decided once a scheduler runs: do not send it again",
        )

    def _state_after(self, command: Answer) -> Answer:
        """The execution or the task that a command made or changed; nothing, where it deleted it."""
        try:
            if execution_id := command.body.get("execution_id"):
                return self.get(f"/executions/{execution_id}")
            return self.get(f"/tasks/{command.body.get('task_id')}")
        except ApiProblem as problem:
            if problem.status != 404:
                raise
            return Answer(204, None, b"")

    def _decoded(self, status: int, raw: bytes) -> Any:
        if not raw:
            return None
        try:
            return msgspec.json.decode(raw)
        except msgspec.DecodeError:
            raise self._foreign(status, raw) from None

    def _refused(self, status: int, path: str, retry_after: str | None, raw: bytes) -> CliError:
        try:
            problem = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.MsgspecError:
            return self._foreign(status, raw)
        hint = ""
        if retry_after:
            hint = f"try again in {retry_after} s"
        elif status == 401:
            hint = "set GNOMON_TOKEN to a valid token or key"
        elif problem.get("code") == "not_found":
            hint = _LISTED_BY.get(path.removeprefix(PREFIX).split("/")[1], "")
        return ApiProblem(status, problem, hint=hint)

    def _foreign(self, status: int, raw: bytes) -> Foreign:
        start = raw[:200].decode(errors="replace").strip().partition("\n")[0]
        return Foreign(
            status,
            f"{self._target.url} answered {status} with something that is not Gnomon's JSON",
            details=[start] if start else [],
            hint=f"is it a Gnomon? The address comes from {self._target.source}",
        )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn what the network does into help."""
        where = f"Gnomon at {self._target.url} (from {self._target.source})"
        try:
            yield
        except TimeoutError:
            raise _timed_out(where) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _timed_out(where) from None
            raise Unreachable(
                f"cannot reach {where}: {_words(error.reason)}",
                hint="is it running? `gnomon up` starts one; GNOMON_URL names another",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            words = str(error) or type(error).__name__
            raise Unreachable(f"lost the connection to {where}: {words}") from None


def _words(reason: object) -> str:
    """What the system says, without its number."""
    text = getattr(reason, "strerror", None) or str(reason)
    return text[:1].lower() + text[1:]


def _timed_out(where: str) -> Unreachable:
    return Unreachable(
        f"{where} did not answer in time", hint="look at its /readyz, or at the logs of `gnomon up`"
    )


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _field(error: Mapping[str, Any]) -> str:
    """One field error: the flag that fills it, or the field's path, and the words."""
    pointer = str(error.get("pointer", ""))
    message = str(error.get("message", ""))
    if pointer in ("", "#", "#/"):
        return message
    name = pointer.removeprefix("#/").replace("/", ".")
    flag = _FLAGS.get(pointer) or ("--config" if pointer.startswith("#/config/") else None)
    return f"{name} ({flag}): {message}" if flag else f"{name}: {message}"
