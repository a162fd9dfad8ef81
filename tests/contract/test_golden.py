"""Stored messages stay readable: every golden sample decodes with the Structs of today."""

from __future__ import annotations

import msgspec
import pytest

from gnomon_schemas.codec import decode, decode_event, encode
from gnomon_schemas.documents.messages import MESSAGES, message_of
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.generate import GOLDEN, main
from gnomon_schemas.samples import samples

STRUCTS = sorted(name for name, sample in samples().items() if isinstance(sample, msgspec.Struct))


@pytest.mark.parametrize("name", STRUCTS)
def test_a_golden_sample_decodes_to_what_it_was_made_of(name: str) -> None:
    sample = samples()[name]
    stored = (GOLDEN / f"{name}.json").read_bytes()
    assert type(sample) is message_of(name).struct
    # Compared as values: carried JSON (`Raw`) keeps the file's line breaks.
    assert msgspec.json.decode(encode(decode(stored, type(sample)))) == msgspec.json.decode(encode(sample))


def test_every_message_has_a_sample_and_every_file_belongs_to_a_message() -> None:
    """So that none is stored, or documented, that the tests do not read."""
    files = [path.name.removesuffix(".json") for path in GOLDEN.iterdir()]
    assert {message_of(name).name for name in files} == {message.name for message in MESSAGES}


@pytest.mark.parametrize("event", sorted(EVENT_TYPES))
def test_every_event_has_a_sample_that_its_tag_finds(event: str) -> None:
    paths = list(GOLDEN.glob(f"task.{event}*.json"))
    assert paths, f"no sample of task.{event}"
    for path in paths:
        assert type(decode_event(path.read_bytes())) is EVENT_TYPES[event]


def test_readers_ignore_fields_that_they_do_not_know() -> None:
    stored = msgspec.json.decode((GOLDEN / "task.executed.json").read_bytes())
    stored["a_field_of_a_later_version"] = {"x": 1}
    assert decode_event(msgspec.json.encode(stored)).task_id == stored["task_id"]


def test_generated_files_are_current() -> None:
    assert main(["--check"]) == 0
