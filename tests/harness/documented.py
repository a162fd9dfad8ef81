"""Whether the api answers as its OpenAPI document says: a hook for a client of httpx.

    httpx.AsyncClient(event_hooks={"response": [keeps_to_the_document]})

Every answer that a test gets is then checked, whatever the test is about: its status, its type, its body, and the code
of its problem have to be among those that the document names for the route.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import jsonschema_rs
import msgspec

from gnomon_api.app import document_of

__all__ = ["document", "keeps_to_the_document", "validator"]

_STREAMS = ("text/event-stream",)


@cache
def document() -> dict[str, Any]:
    """The document as a reader gets it."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document_of("1.2.3")))
    return found


@cache
def _compiled(text: bytes) -> jsonschema_rs.Validator:
    whole = {**msgspec.json.decode(text), "components": document()["components"]}
    return jsonschema_rs.validator_for(whole, validate_formats=True)


def validator(schema: Any) -> jsonschema_rs.Validator:
    """A validator of a schema that stands in the document."""
    return _compiled(msgspec.json.encode(schema))


async def keeps_to_the_document(response: httpx.Response) -> None:
    """Raise AssertionError where an answer is not as the document says. What has no route is none of its business."""
    told = _operation(response.request.method, response.request.url.path)
    if told is None:
        return
    where = f"{response.request.method} {response.request.url.path}"
    answers = told["responses"]
    assert str(response.status_code) in answers, f"{where}: {response.status_code} is not in the document"
    answer = answers[str(response.status_code)]
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if "content" not in answer:
        return
    # A task that was deleted since leaves nothing to show, and some answers are streams.
    assert media_type in answer["content"], f"{where}: {media_type!r} is not in the document"
    if media_type in _STREAMS or not media_type.endswith("json"):
        return
    await response.aread()
    errors = [
        f"{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in validator(answer["content"][media_type]["schema"]).iter_errors(response.json())
    ]
    assert errors == [], f"{where}: {response.status_code} {errors}\n{response.text}"


def _operation(method: str, path: str) -> dict[str, Any] | None:
    given = path.strip("/").split("/")
    for shown, methods in document()["paths"].items():
        parts = shown.strip("/").split("/")
        fits = len(parts) == len(given) and all(
            part.startswith("{") or part == each for part, each in zip(parts, given, strict=True)
        )
        if fits and method.lower() in methods:
            found: dict[str, Any] = methods[method.lower()]
            return found
    return None
