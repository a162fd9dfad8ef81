"""The AsyncAPI 3.0 document, from the messages and the channels.

It describes Gnomon as an application: it *receives* commands and *sends* events. A payload's schema stands under
`components.schemas`, in the form that AsyncAPI takes by default (a superset of JSON Schema draft 07).
"""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final

import msgspec

from gnomon_schemas import headers as h
from gnomon_schemas.codec import encode
from gnomon_schemas.documents.channels import CHANNELS, PARAMETERS, Channel
from gnomon_schemas.documents.field_rules import INSTANT
from gnomon_schemas.documents.json_schema import (
    PATCHED,
    READ_BACK,
    Schema,
    components,
    input_of,
    patch_name,
    patch_of,
)
from gnomon_schemas.documents.messages import MESSAGES, Message, message_of
from gnomon_schemas.limits import COMMAND_MAX, ID_PATTERN, USER_ID_MAX_CHARS
from gnomon_schemas.samples import samples

__all__ = ["COMMAND_HEADERS", "EVENT_HEADERS", "LIVE_HEADERS", "asyncapi"]

_TRACEPARENT: Final[Schema] = {
    "type": "string",
    "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
    "description": "W3C Trace Context.",
}
COMMAND_HEADERS: Final[dict[str, Schema]] = {
    h.MSG_ID: {
        "type": "string",
        "pattern": ID_PATTERN,
        "description": "The command's id, made by the caller. Sent again with the same id, a command is answered again "
        "and not decided again. The broker drops a repetition within 100 ms.",
    },
    h.USER: {
        "type": "string",
        "maxLength": USER_ID_MAX_CHARS,
        "description": "The acting user. Absent: the system, which may act on every task.",
    },
    h.ROLES: {
        "type": "string",
        "description": "Roles of the acting user, with commas; `admin` may act on every user's tasks.",
    },
    h.IF_MATCH: {
        "type": "string",
        "pattern": '^"?[0-9]+"?$',
        "description": "The version of the task that the caller last saw; refused where it has changed since.",
    },
    h.REPLY_TO: {
        "type": "string",
        "pattern": r"^_INBOX\.",
        "description": "Where to send the outcome.",
    },
    h.TRACEPARENT: _TRACEPARENT,
}
"""What a caller says besides the payload; only the first is required."""
EVENT_HEADERS: Final[dict[str, Schema]] = {
    h.CE_SPECVERSION: {"type": "string", "const": "1.0"},
    h.CE_TYPE: {"type": "string", "description": "As `type` in the payload."},
    h.CE_ID: {"type": "string", "minLength": 1, "description": "Names the event."},
    h.CE_SOURCE: {
        "type": "string",
        "format": "uri-reference",
        "description": "The process that recorded it, such as `gnomon/scheduler/<id>`.",
    },
    h.CE_TIME: {"type": "string", **INSTANT, "description": "As `occurred_at` in the payload."},
    h.CE_SUBJECT: {"type": "string", "description": "The task's id."},
    h.CE_CONTENT_TYPE: {"type": "string", "const": "application/json"},
    h.TRACEPARENT: _TRACEPARENT,
}
"""CloudEvents 1.0 attributes in the NATS binding's binary mode; all but `traceparent` are always there."""
LIVE_HEADERS: Final[dict[str, Schema]] = {
    h.REPUBLISHED_SUBJECT: {"type": "string", "description": "Subject of the stored message."},
    h.REPUBLISHED_SEQUENCE: {
        "type": "string",
        "pattern": r"^\d+$",
        "description": "Its sequence in the stream.",
    },
    h.REPUBLISHED_TIME: {"type": "string", "description": "When the broker stored it."},
}
"""What the broker adds to a stored message that is heard live."""

_BINDING: Final = {"nats": {"bindingVersion": "0.1.0"}}
_WORDS: Final = (
    "Gnomon runs work at given times. Other services send it commands and hear its events over NATS, as this document "
    "says; it needs nothing of Gnomon's own code.\n\n"
    "A command is published to JetStream under its subject, with an id of the caller's in `Nats-Msg-Id`, and is "
    "decided once however often it is sent. Where it names an inbox in `Gnomon-Reply-To`, the outcome comes there; in "
    "any case exactly one event with its `command_id` tells what came of it.\n\n"
    "Events are heard live on `task.<event>` (core NATS) and kept in the stream `TASKS` under "
    "`task.<event>.<partition>.<task_id>.<run>`. Whoever reads them ignores fields that it does not know. "
    "`x-stream` names the stream that keeps a channel's messages, `x-maxBytes` the largest size of a value as JSON."
)


def asyncapi() -> dict[str, Any]:
    """The whole document."""
    schemas = _schemas()
    return {
        "asyncapi": "3.0.0",
        "id": "urn:gnomon",
        "info": {
            "title": "Gnomon",
            "version": metadata.version("gnomon-schemas"),
            "description": _WORDS,
            "tags": [{"name": name, "description": words} for name, words in _TAGS.items()],
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "{host}:{port}",
                "protocol": "nats",
                "description": "A NATS server 2.12 or newer with JetStream: the one that Gnomon uses.",
                "variables": {
                    "host": {"default": "127.0.0.1"},
                    "port": {"default": "4222"},
                },
            }
        },
        "channels": {channel.name: _channel(channel) for channel in CHANNELS},
        "operations": {f"{channel.action}_{channel.name}": _operation(channel) for channel in CHANNELS},
        "components": {"schemas": schemas, "messages": _messages()},
    }


_TAGS: Final = {
    "command": "What other services ask for.",
    "outcome": "What they are answered.",
    "event": "What has been recorded.",
    "work": "What executors do.",
    "signal": "To and from running handlers.",
    "internal": "Between Gnomon's own processes: nothing to build on.",
}

_HEARD_LIVE: Final = frozenset(channel.message for channel in CHANNELS if channel.live_of is not None)
"""Messages that are heard as they are stored, with the headers that tell where."""


def _schemas() -> dict[str, Schema]:
    _, found = components([message.struct for message in MESSAGES], "#/components/schemas/{name}")
    sent = {kind.__name__: input_of(found[kind.__name__], kind) for kind in READ_BACK}
    patches = {patch_name(kind): patch_of(found, found[kind.__name__], kind) for kind in PATCHED}
    return {**found, **sent, **patches}


def _messages() -> dict[str, Any]:
    examples: dict[str, list[dict[str, Any]]] = {}
    for name, sample in samples().items():
        payload = msgspec.json.decode(encode(sample))
        examples.setdefault(message_of(name).name, []).append({"name": name, "payload": payload})
    found = {}
    for message in MESSAGES:
        found[message.name] = _message(message, message.name, _headers(message), examples[message.name])
        if message.name in _HEARD_LIVE:
            live = _headers(message, live=True)
            found[f"live.{message.name}"] = _message(message, message.name, live, examples[message.name])
    return found


def _message(
    message: Message, name: str, headers: Schema | None, examples: list[dict[str, Any]]
) -> dict[str, Any]:
    schema = patch_name(message.struct) if message.patch else message.struct.__name__
    found: dict[str, Any] = {
        "name": name,
        "title": name,
        "summary": message.summary,
        "contentType": "application/json",
        "tags": [{"name": message.group}],
        "payload": {"$ref": f"#/components/schemas/{schema}"},
        "examples": examples,
    }
    if headers is not None:
        found["headers"] = headers
    if message.group == "command":
        found["correlationId"] = {"location": f"$message.header#/{h.MSG_ID}"}
        found["x-maxBytes"] = COMMAND_MAX
    elif message.name == "outcome":
        found["correlationId"] = {"location": "$message.payload#/command_id"}
    return found


def _headers(message: Message, *, live: bool = False) -> Schema | None:
    if message.group == "command":
        return _header_object(COMMAND_HEADERS, [h.MSG_ID])
    if message.group == "event":
        tag = message.struct.__struct_config__.tag
        headers = {**EVENT_HEADERS, h.CE_TYPE: {"type": "string", "const": str(tag)}}
        required = [name for name in headers if name != h.TRACEPARENT]
    elif message.group == "work":
        headers, required = {h.TRACEPARENT: _TRACEPARENT}, []
    elif live:
        headers, required = {}, []
    else:
        return None
    if live:
        headers, required = {**headers, **LIVE_HEADERS}, [*required, *LIVE_HEADERS]
    return _header_object(headers, required)


def _header_object(headers: dict[str, Schema], required: list[str]) -> Schema:
    found: Schema = {"type": "object", "properties": headers}
    return {**found, "required": required} if required else found


def _component(channel: Channel, name: str) -> str:
    return f"live.{name}" if channel.live_of is not None else name


def _channel(channel: Channel) -> dict[str, Any]:
    # An answer to a command goes to the caller's inbox, which is a channel of its own.
    names = [channel.message, *([channel.reply] if channel.reply and channel.reply != "outcome" else [])]
    found: dict[str, Any] = {
        "address": channel.address,
        "title": channel.name,
        "description": channel.words,
        "servers": [{"$ref": "#/servers/nats"}],
        "messages": {name: {"$ref": f"#/components/messages/{_component(channel, name)}"} for name in names},
        "tags": [{"name": message_of(channel.message).group}],
    }
    parameters = {name: _parameter(name) for name in PARAMETERS if f"{{{name}}}" in channel.address}
    if parameters:
        found["parameters"] = parameters
    if channel.stream is not None:
        found["x-stream"] = channel.stream
    if channel.live_of is not None:
        found["x-live-of"] = {"$ref": f"#/channels/{channel.live_of}"}
    return found


def _parameter(name: str) -> dict[str, Any]:
    told = PARAMETERS[name]
    found: dict[str, Any] = {"description": told.words}
    if told.enum:
        found["enum"] = list(told.enum)
    if told.examples:
        found["examples"] = list(told.examples)
    if told.pattern is not None:
        found["x-pattern"] = told.pattern
    return found


def _operation(channel: Channel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "summary": channel.words,
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{channel.message}"}],
        "bindings": _BINDING,
    }
    if channel.reply == "outcome":
        found["reply"] = {
            "address": {
                "location": f"$message.header#/{h.REPLY_TO}",
                "description": "The inbox that the command names.",
            },
            "channel": {"$ref": "#/channels/outcome"},
            "messages": [{"$ref": "#/channels/outcome/messages/outcome"}],
        }
    elif channel.reply is not None:
        found["reply"] = {
            "channel": {"$ref": f"#/channels/{channel.name}"},
            "messages": [{"$ref": f"#/channels/{channel.name}/messages/{channel.reply}"}],
        }
    return found
