"""Every command on a how-to page works, and shows what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.docs.page_run import run_page
from tests.integration.docs.pages import how_to_pages


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", how_to_pages(), ids=lambda path: path.name)
async def test_every_command_of_the_page_runs(path: Path) -> None:
    await run_page(path)
