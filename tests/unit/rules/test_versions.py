"""`If-Match`, as callers write it."""

from __future__ import annotations

import pytest

from gnomon_core.rules.versions import check_version
from gnomon_schemas.problems import Code, Refused


@pytest.mark.parametrize("given", [None, "*", "3", '"3"', ' "3" ', 'W/"3"', '"1", "3"', '"3","4"'])
def test_the_version_is_named(given: str | None) -> None:
    check_version(given, 3)


@pytest.mark.parametrize("given", ["", '""', "2", '"33"', '"1", "2"', "three", "03"])
def test_another_version_is_named(given: str) -> None:
    with pytest.raises(Refused) as refused:
        check_version(given, 3)
    assert refused.value.problem.code is Code.VERSION_MISMATCH
