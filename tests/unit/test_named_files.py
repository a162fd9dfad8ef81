"""What ARCHITECTURE, decisions and explanations name of the code and the tests is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gnomon_core.runtime.topology import TopologySettings, stream_configs

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "ARCHITECTURE.md",
        *(ROOT / "docs" / "adr").glob("*.md"),
        *(ROOT / "docs" / "explanation").glob("*.md"),
    )
)
_NAMED = re.compile(r"`([\w/]+\.py)`")
_CODE = ("schemas", "core", "sdk", "services", "cli", "tests", "benchmarks")


def _files() -> frozenset[str]:
    found = (path for part in _CODE for path in (ROOT / part).rglob("*.py"))
    return frozenset("/" + path.relative_to(ROOT).as_posix() for path in found)


FILES = _files()


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_the_code_that_a_page_names_is_there(page: str) -> None:
    named = set(_NAMED.findall((ROOT / page).read_text()))
    missing = sorted(name for name in named if not any(path.endswith(f"/{name}") for path in FILES))
    assert missing == []


def test_the_architecture_names_every_stream() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert [
        stream["name"] for stream in stream_configs(TopologySettings()) if f"`{stream['name']}`" not in text
    ] == []
