"""Which files `--reload` watches, and that it tells of changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gnomon_cli.up.reload import ModuleWatch, files_of


def test_files_are_found_without_importing_anything(tmp_path: Path) -> None:
    (tmp_path / "single.py").write_text("raise RuntimeError('imported')")
    package = tmp_path / "pack" / "inner"
    package.mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "tasks.py").write_text("this is no Python")
    path = [str(tmp_path)]
    assert files_of("single", path) == [tmp_path / "single.py"]
    assert files_of("pack", path) == [tmp_path / "pack" / "__init__.py", package / "tasks.py"]
    assert files_of("pack.inner.tasks", path) == [package / "tasks.py"]
    assert files_of("nowhere.at.all", path) == []


async def test_a_changed_and_a_new_file_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changed: asyncio.Queue[Path] = asyncio.Queue()
    watch = ModuleWatch(["mine"], changed.put_nowait)
    watch.start()
    try:
        (tmp_path / "mine.py").write_text("first = 1")
        async with asyncio.timeout(10):
            assert (await changed.get()).name == "mine.py"
        (tmp_path / "mine.py").write_text("first = 1, second = 2")
        async with asyncio.timeout(10):
            assert (await changed.get()).name == "mine.py"
    finally:
        await watch.stop()
