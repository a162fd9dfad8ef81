"""What an attempt is given besides its due."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_core.rules.merge_patch import merge_patch


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
        ({"a": 1}, {}, {"a": 1}),
        ("text", {"a": 1}, {"a": 1}),
    ],
)
def test_overrides_are_merged_as_rfc_7396_has_it(target: Any, patch: Any, merged: Any) -> None:
    before = msgspec.json.encode(target)
    assert merge_patch(target, patch) == merged
    assert msgspec.json.encode(target) == before
