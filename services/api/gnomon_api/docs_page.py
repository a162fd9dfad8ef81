"""`/openapi.json`, and `/docs`: the same as a page, made here, that needs nothing from elsewhere."""

from __future__ import annotations

import re
from html import escape
from typing import Any, Final

import msgspec
from litestar import Response, get

from gnomon_api.http_io import HttpRequest, HttpResponse

__all__ = ["docs_page", "openapi_document", "render_docs"]

_HTML: Final = "text/html"
_POLICY: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


@get("/openapi.json")
async def openapi_document(request: HttpRequest) -> HttpResponse:
    """This API as an OpenAPI document."""
    return Response(request.app.state.openapi_document, media_type="application/json")


@get("/docs")
async def docs_page(request: HttpRequest) -> HttpResponse:
    """This API as a page to read."""
    return Response(request.app.state.docs_page, media_type=_HTML, headers=_POLICY)


def render_docs(document: dict[str, Any]) -> bytes:
    """The page for an OpenAPI document."""
    version = document["info"]["version"]
    operations: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            operations[told["tags"][0]].append(_operation(method, path, told))
    sections = "".join(
        f'<section id="{escape(tag)}"><h2>{escape(tag)}</h2>{"".join(parts)}</section>'
        for tag, parts in operations.items()
        if parts
    )
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in operations)
    schemas = "".join(
        _schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Gnomon API {escape(version)}</title>"
        f'<meta name=viewport content="width=device-width">{_STYLE}<header><h1>Gnomon API</h1>'
        f'<p>Version {escape(version)} · <a href="/openapi.json">openapi.json</a> · <a href="/">dashboard</a></p>'
        f'<nav>{links}<a href="#schemas">schemas</a></nav></header><main>{sections}'
        f'<section id="schemas"><h2>schemas</h2>{schemas}</section></main></html>'
    ).encode()


def _operation(method: str, path: str, told: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}"
        f"<td>{escape(_allowed(one['schema']))}<td>{_words(one.get('description', ''))}"
        for one in told["parameters"]
    )
    parameters = f"<table>{rows}</table>" if rows else ""
    body = ""
    if "requestBody" in told:
        content = told["requestBody"]["content"]["application/json"]
        body = f"<p>Body: {_link(content['schema'])}</p>{_examples(content)}"
    answers = "".join(
        f"<li><b>{escape(status)}</b> {_words(answer['description'])} {_content(answer)}"
        for status, answer in sorted(told["responses"].items())
    )
    return (
        f'<details id="{escape(told["operationId"])}"><summary>'
        f'<b class="{escape(method)}">{escape(method.upper())}</b> '
        f"<code>{escape(path)}</code> <span>{escape(told['summary'])}</span></summary>"
        f"<p>{_words(told['description'])}</p>{parameters}{body}<ul>{answers}</ul></details>"
    )


def _content(answer: dict[str, Any]) -> str:
    return " ".join(_link(one["schema"]) for one in answer.get("content", {}).values())


def _allowed(schema: dict[str, Any]) -> str:
    """What a parameter takes, in a few words."""
    one = schema.get("items", schema)
    words = ", ".join(one["enum"]) if "enum" in one else str(one["type"])
    if "minimum" in one:
        words += f", {one['minimum']} to {one['maximum']}" if "maximum" in one else f", from {one['minimum']}"
    return words


def _examples(content: dict[str, Any]) -> str:
    shown = "".join(
        f"<h4>{escape(name.replace('_', ' '))}</h4><pre>{escape(_text(example['value']))}</pre>"
        for name, example in content["examples"].items()
    )
    return f"<details><summary>examples</summary>{shown}</details>"


def _words(text: str) -> str:
    """Text with its `code` marked up."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _text(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("allOf", [schema])[0].get("$ref", "").rpartition("/")[2]
    return f'<a href="#schema-{escape(name)}">{escape(name)}</a>' if name else escape(schema.get("type", ""))


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = escape(_text(schema))
    words = _words(schema.get("description", ""))
    return (
        f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code> <span>{words}</span></summary>'
        f"<pre>{text}</pre></details>"
    )


_STYLE: Final = """<style>
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:62rem;padding:1.5rem}
h1{margin:0}h2{border-bottom:1px solid var(--line);text-transform:capitalize}
nav a{display:inline-block;margin-right:1rem}code,pre{font:13px/1.45 ui-monospace,monospace}
details{border:1px solid var(--line);border-radius:6px;margin:.4rem 0;padding:.4rem .7rem}
summary{cursor:pointer}summary span{opacity:.7}summary b{display:inline-block;min-width:4.2rem}
pre{overflow:auto;background:var(--soft);padding:.7rem;border-radius:6px}
summary,li,p{overflow-wrap:anywhere}
table{border-collapse:collapse;display:block;overflow-x:auto}td{padding:.15rem .8rem .15rem 0;vertical-align:top}
.get{color:#2a7}.post{color:#37c}.put,.patch{color:#b70}.delete{color:#c33}
</style>"""
