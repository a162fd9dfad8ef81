"""Every command on a page of the documentation works, and shows what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.integration.docs.page_run import running_page
from tests.integration.docs.pages import ROOT, pages, read_page
from tests.servers import reachable_folder

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
async def test_every_command_of_the_page_runs(path: Path) -> None:
    page = read_page(path)
    if not page.has_commands:
        return
    assert shutil.which("curl"), "the pages use curl, and it is not here"
    with reachable_folder() as folder:
        async with running_page(page, folder) as run:
            await run.run()


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_of_the_page_leads_to_a_file(path: Path) -> None:
    links = [link for link in _LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing
