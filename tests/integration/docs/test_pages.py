"""Every command on a page of the documentation works, and shows what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.docs.page_run import run_page
from tests.integration.docs.pages import ROOT, how_to_pages, pages

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", [path for path in pages() if path not in how_to_pages()], ids=_name)
async def test_every_command_of_the_page_runs(path: Path) -> None:
    await run_page(path)


@pytest.mark.parametrize("path", pages(), ids=_name)
def test_every_link_of_the_page_leads_to_a_file(path: Path) -> None:
    links = [link for link in _LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing
