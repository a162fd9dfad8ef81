"""The reference pages are current, complete, and lead where they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gnomon_api import reference as http_reference
from gnomon_cli import env_example
from gnomon_cli.parser import build_parser
from gnomon_cli.reference import __main__ as reference
from gnomon_cli.reference.command_line import commands
from gnomon_core.runtime.metrics import Metric
from gnomon_schemas import generate

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_pages_are_current() -> None:
    assert reference.main(["--check"]) == 0
    assert http_reference.main(["--check"]) == 0
    assert env_example.main(["--check"]) == 0


def test_a_page_that_is_not_current_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in reference.rendered():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/reference/metrics.md").write_text("of another version")
    assert reference.main(["--check"]) == 1
    assert "docs/reference/metrics.md is not current" in capsys.readouterr().err
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    assert http_reference.main(["--check"]) == 1
    assert "openapi.json is not what the routes say" in capsys.readouterr().err
    assert http_reference.main([]) == 0
    assert http_reference.main(["--check"]) == 0


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w.]+)\)", (FOLDER / "README.md").read_text()))
    assert linked == {path.name for path in FOLDER.iterdir()} - {"README.md"}


def test_every_page_but_the_index_is_generated() -> None:
    made = {path.name for path in [*reference.rendered(), *generate.rendered(), http_reference.FILE]}
    assert {path.name for path in PAGES} - {"README.md"} <= made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./]*)(?:#([\w-]+))?\)", page.read_text()):
        path = page if not target else page.parent / target
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page.name}: {target}#{anchor}"


def test_every_command_and_metric_is_on_its_page() -> None:
    """Found in another way than the pages are made."""
    cli = (FOLDER / "cli.md").read_text()
    names = [name for name, _, _ in commands(build_parser())]
    assert {"gnomon up", "gnomon task create", "gnomon events"} <= set(names)
    assert all(f"\n## {name}\n" in cli for name in names)
    metrics = (FOLDER / "metrics.md").read_text()
    assert all(f"| `{metric.value.name}` |" in metrics for metric in Metric)


def _anchors(page: Path) -> set[str]:
    """Headings as the sites that show Markdown name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
