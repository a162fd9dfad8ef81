"""The mark of tests that need a command which pip cannot install."""

from __future__ import annotations

import pytest

from tests.e2e.tools import find

__all__ = ["needs"]


def needs(command: str) -> pytest.MarkDecorator:
    """Skip, by name, where a command of `tools.TOOLS` is missing. Raises KeyError for one that is not listed."""
    found = find(command)
    return pytest.mark.skipif(
        found is None, reason=f"{command} is missing: `make e2e` tells where it comes from"
    )
