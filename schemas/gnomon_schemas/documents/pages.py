"""The reference pages of the contract: subjects, messages, events, problems. Their facts come from the Structs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.documents.asyncapi import COMMAND_HEADERS, EVENT_HEADERS, LIVE_HEADERS
from gnomon_schemas.documents.channels import CHANNELS, PARAMETERS, UNDOCUMENTED, Channel
from gnomon_schemas.documents.docstrings import doc_of
from gnomon_schemas.documents.json_schema import Schema, components
from gnomon_schemas.documents.messages import MESSAGES, Message, message_of
from gnomon_schemas.events import EVENT_TYPES, Event, ExecutionEvent, SlotOutcome
from gnomon_schemas.problems import CATALOGUE
from gnomon_schemas.samples import samples

__all__ = ["events_page", "messages_page", "problems_page", "subjects_page", "table"]

_MADE: Final = "Written by `python -m gnomon_schemas.generate`."
_STREAMS: Final = {
    subjects.COMMANDS_STREAM: "Work queue of commands, until they are decided and answered.",
    subjects.EVENTS_STREAM: "The event log, and a register per task and per shard.",
    subjects.DUE_STREAM: "Work queue of executions that are due and unfinished, and a fence per shard.",
    f"KV_{subjects.LEASES_BUCKET}": "Bucket, keys expire: who should lead.",
    f"KV_{subjects.MEMBERS_BUCKET}": "Bucket, keys expire: which processes live.",
    f"KV_{subjects.TYPES_BUCKET}": "Bucket: announced task types.",
    f"KV_{subjects.ACCOUNTS_BUCKET}": "Bucket: positions of the projector and the janitor.",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def problems_page() -> str:
    """Every code."""
    rows = ([f"`{code}`", str(entry.status), entry.title] for code, entry in CATALOGUE.items())
    return f"""# Problems

Every refusal, over HTTP, NATS or the command line, is an RFC 9457 problem: `type` (`urn:gnomon:problem:<code>`),
`title`, `status`, `detail` (this occurrence in words), `code`, `trace_id`, and `errors` with a `pointer` into the input
(`#/schedule/expression`), a `code` and a `message` for each field at fault. Codes are stable; texts are not.

{_MADE}

{table(("code", "status", "title"), rows)}"""


def subjects_page() -> str:
    """Every subject, stream and header."""
    ours = [channel for channel in CHANNELS if not channel.internal]
    rest = [channel for channel in CHANNELS if channel.internal]
    parameters = (
        [f"`{name}`", told.words, _allowed(told.enum, told.pattern)] for name, told in PARAMETERS.items()
    )
    return f"""# Subjects

Everything that goes over NATS. The same, for machines, is `schemas/asyncapi.json`; payloads are in
[messages](messages.md) and [events](events.md).

{_MADE}

## For everybody

{_channels(ours)}
`SUB task.*` hears everything live. To read what was stored, make a JetStream consumer on `TASKS` with a filter such as
`task.executed.*.*.*` (one event), `task.*.*.nightly-report.*` (one task) or `task.*.*.nightly-report.r-c6` (one run).

Parts of addresses:

{table(("part", "meaning", "allowed"), parameters)}
## Headers

Of a command; only `Nats-Msg-Id` is required. Anyone with permission to publish there may act for any user.

{_headers(COMMAND_HEADERS)}
Of an event: CloudEvents 1.0 in the NATS binding's binary mode.

{_headers(EVENT_HEADERS)}
Of what is heard live, besides those of the stored message:

{_headers(LIVE_HEADERS)}
## Streams and buckets

{table(("name", "holds"), ([f"`{name}`", words] for name, words in _STREAMS.items()))}
## Between Gnomon's own processes

Nothing to build on: these may change with any version.

{_channels(rest)}
{table(("subject", "what"), ([f"`{name}`", words] for name, words in UNDOCUMENTED.items()))}"""


def messages_page() -> str:
    """Commands, outcomes, work and signals."""
    found = _schemas()
    parts = [
        f"""# Messages

What goes over the [subjects](subjects.md), except [events](events.md). The JSON Schema of each is in `schemas/json`,
samples are in `schemas/golden`.

{_MADE}

## Commands

A command is published to JetStream under `gnomon.cmd.task.<verb>.<task_id>`, with its id in the header `Nats-Msg-Id`.
Sent again with the same id it is answered again and not decided again. The broker itself drops a repetition within
100 ms, so retry later than that.

Every command is answered by exactly one event that carries its `command_id`: `created`, `updated` (pause, resume and
cancel too), `deleted`, `queued` (a `run`), `unchanged` (accepted and nothing changed; also a `cancel_execution`, whose
effect is told by the execution's own events), or `rejected`.

Fields that only the system sets are ignored, so that a read can be sent back; any other field that is not known is
refused by name.
""",
        *(_section(message, found, _REMARKS.get(message.name, "")) for message in _of("command")),
        "## Answers\n",
        *(_section(message, found, _REMARKS.get(message.name, "")) for message in _of("outcome")),
        "## Work\n",
        *(_section(message, found, _REMARKS.get(message.name, "")) for message in _of("work")),
        "## Signals\n\nCore NATS, not stored, and allowed to be lost.\n",
        *(_section(message, found) for message in _of("signal")),
        "## Between Gnomon's own processes\n\nNothing to build on: these may change with any version.\n",
        *(_section(message, found) for message in _of("internal")),
        "## What they are made of\n",
        *(_part(name, found) for name in _parts(found)),
    ]
    return "\n".join(parts)


_REMARKS: Final = {
    "command.update": "The fields are those of `command.create`, none of them required. Null takes a field back to its "
    "default. A `schedule` that names its `kind`, and a `config`, replace the old one whole.",
    "command.pause": "It withdraws scheduled work that nobody has claimed. Runs on demand are left alone: they are "
    "allowed while paused.",
    "command.run": "It respects the task's overlap policy unless it names one: under `skip` it is refused with "
    "`overlap` while another execution is in flight, under `queue` and `queue_all` it waits, under `cancel_running` it "
    "waits until those that it cancels are gone.",
    "outcome": "`seq` is the sequence in `TASKS` of the event that answers the command; a reader that has passed it "
    "sees the effect. A refused command has `ok` false and `error`. `execution` is there for `run` and "
    "`cancel_execution`.",
    "problem": "All codes are in [problems](problems.md).",
    "task.due": "A claim expects `cause_seq` on the execution's chain, so that an attempt is claimed once.",
}


def events_page() -> str:
    """Every event."""
    found = _schemas()
    return "\n".join(
        [
            f"""# Events

What is recorded, one message an event: heard live on `task.<event>`, kept in the stream `TASKS` under
`task.<event>.<partition>.<task_id>.<run>` (see [subjects](subjects.md)), and served by the api as server-sent events
under `/api/v1/events`. Readers ignore fields that they do not know. The JSON Schema of each is
`schemas/json/task.<event>.schema.json`.

{_MADE}

| | |
|---|---|
{_overview()}
## Every event

{_fields(Event, found)}
## Every event of an execution

Those above, and:

{_fields(ExecutionEvent, found, below=Event)}""",
            *(_event(message, found) for message in _of("event")),
        ]
    )


def _overview() -> str:
    return "".join(
        f"| [`{message.name}`](#{message.name.replace('.', '')}) | {message.summary} |\n"
        for message in _of("event")
    )


def _event(message: Message, found: Mapping[str, Schema]) -> str:
    struct = message.struct
    base: type | None = Event
    words = "The fields of every event, and:"
    if issubclass(struct, ExecutionEvent):
        base, words = ExecutionEvent, "The fields of every event of an execution, and:"
    elif not issubclass(struct, Event):
        base, words = None, "Its fields:"
    elif issubclass(struct, SlotOutcome):
        words = f"{doc_of(SlotOutcome)} The fields of every event, and:"
    return f"## {message.name}\n\n{doc_of(struct)} {words}\n\n{_fields(struct, found, below=base)}\n{_samples(message)}"


def _section(message: Message, found: Mapping[str, Schema], remark: str = "") -> str:
    words = f"{message.summary}." if message.patch else doc_of(message.struct)
    fields = "" if message.patch else _fields(message.struct, found)
    texts = [f"### {message.name}\n", f"{words} {remark}".strip() + "\n", fields, _samples(message)]
    return "\n".join(text for text in texts if text)


def _part(name: str, found: Mapping[str, Schema]) -> str:
    schema = found[name]
    words = f"### {name}\n\n{schema.get('description', '')}\n"
    if "properties" not in schema:
        return words + "\nOne of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".\n"
    return words + "\n" + _field_table(schema, schema["properties"])


def _parts(found: Mapping[str, Schema]) -> list[str]:
    """Components that are no message of their own."""
    shown = {message.struct.__name__ for message in MESSAGES}
    return [name for name in found if name not in shown]


def _schemas() -> dict[str, Schema]:
    wanted: list[type[msgspec.Struct]] = [
        *(message.struct for message in MESSAGES),
        Event,
        ExecutionEvent,
        SlotOutcome,
    ]
    return components(wanted, "{name}")[1]


def _of(group: str) -> list[Message]:
    return [message for message in MESSAGES if message.group == group]


def _fields(struct: type, found: Mapping[str, Schema], below: type | None = None) -> str:
    schema = found[struct.__name__]
    known = set(found[below.__name__]["properties"]) if below else set()
    # A tag of a base class is not one of any message.
    shown = {name: told for name, told in schema["properties"].items() if name not in known or name == "type"}
    if struct in (Event, ExecutionEvent):
        shown.pop("type", None)
    return _field_table(schema, shown) if shown else "No fields.\n"


def _field_table(schema: Schema, properties: Mapping[str, Schema]) -> str:
    required = set(schema.get("required", ()))
    rows = (
        [f"`{name}`", _kind(told), "" if name in required else _default(told), told.get("description", "")]
        for name, told in properties.items()
    )
    return table(("field", "type", "left out", "meaning"), rows)


def _default(told: Schema) -> str:
    if "default" not in told:
        return "may be"
    text = msgspec.json.encode(told["default"]).decode()
    return f"`{text}`" if len(text) < 40 else "its fields' defaults"


def _kind(told: Schema) -> str:
    """A schema in a few words."""
    if "const" in told:
        return f"`{msgspec.json.encode(told['const']).decode()}`"
    for several in ("anyOf", "allOf"):
        if several in told:
            return " or ".join(_kind(each) for each in told[several])
    if "$ref" in told:
        return f"[{told['$ref']}](messages.md#{told['$ref'].lower()})"
    kinds = told.get("type", "any JSON")
    words = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    if "items" in told:
        words = words.replace("array", f"array of {_kind(told['items'])}")
    if told.get("format") == "date-time":
        words = words.replace("string", "instant")
    return words + _bounds(told)


def _bounds(told: Schema) -> str:
    least, most = told.get("minimum"), told.get("maximum")
    above = told.get("exclusiveMinimum")
    said = []
    if above is not None:
        said.append(f"more than {above:g}")
    if least is not None and most is not None:
        said.append(f"{least:g} to {most:g}" if most < 10**6 else f"{least:g} to {int(most):,}")
    elif least is not None:
        said.append(f"from {least:g}")
    elif most is not None:
        said.append(f"at most {int(most):,}")
    shortest, longest = told.get("minLength"), told.get("maxLength")
    if longest is not None:
        said.append(f"{shortest or 0} to {longest} characters")
    if "maxItems" in told:
        said.append(f"at most {told['maxItems']}")
    if "x-maxBytes" in told:
        said.append(f"at most {told['x-maxBytes'] // 1024} KiB")
    return f", {', '.join(said)}" if said else ""


def _samples(message: Message) -> str:
    texts = []
    for name, sample in samples().items():
        if message_of(name) is message:
            text = msgspec.json.format(encode(sample), indent=2).decode()
            texts.append(f"```json\n{text}\n```\n")
    return "\n".join(texts)


def _families(channels: Sequence[Channel]) -> list[list[str]]:
    """The channels of events, which differ by the event's name only, as one row each for the live and the stored."""
    names = f"one of {len(EVENT_TYPES)} [events](events.md)"
    stored = any(channel.name.startswith("stored_") for channel in channels)
    if not stored:
        return []
    live_words = "An event as it is stored, for whoever listens at that moment."
    stored_words = "The same events, kept: read them with a JetStream consumer."
    return [
        [f"`{subjects.live('task', '<event>')}`", live_words, names, "no"],
        ["`task.<event>.{partition}.{task_id}.{run}`", stored_words, names, f"`{subjects.EVENTS_STREAM}`"],
    ]


def _channels(channels: Sequence[Channel]) -> str:
    rows = [*_families(channels)]
    for channel in channels:
        event = message_of(channel.message).group == "event"
        if event and channel.message.startswith("task."):
            continue
        kept = f"`{channel.stream}`" if channel.stream else "no"
        link = f"{'events' if event else 'messages'}.md#{channel.message.replace('.', '')}"
        rows.append([f"`{channel.address}`", channel.words, f"[{channel.message}]({link})", kept])
    return table(("subject", "what", "payload", "kept in"), rows)


def _headers(headers: Mapping[str, Schema]) -> str:
    rows = (
        [f"`{name}`", told.get("description", ""), f"`{told['const']}`" if "const" in told else _form(told)]
        for name, told in headers.items()
    )
    return table(("header", "meaning", "allowed"), rows)


def _form(told: Schema) -> str:
    if "pattern" in told:
        return f"`{told['pattern']}`"
    return f"at most {told['maxLength']} characters" if "maxLength" in told else ""


def _allowed(enum: Sequence[str], pattern: str | None) -> str:
    if enum:
        return ", ".join(f"`{value}`" for value in enum)
    return "" if pattern is None else f"`{pattern}`"
