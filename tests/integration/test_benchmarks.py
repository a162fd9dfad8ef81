"""Two questions of the benchmarks, small: they run, count what came of it, and find something."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import fires, projector
from benchmarks.options import Options
from benchmarks.running import Question, ask


@pytest.mark.parametrize("question", [fires.QUESTION, projector.QUESTION], ids=lambda question: question.name)
def test_a_question_is_answered(question: Question, tmp_path: Path) -> None:
    result = ask(question, "fast", Options(scale=0.01, rounds=1, out=tmp_path))
    assert not result.failure, result.failure
    assert result.outcomes is not None
    assert result.outcomes.recorded == result.outcomes.expected > 0
    first = result.figures[0]
    assert first.value > 0
    assert first.ceiling is not None
    assert first.ceiling > 0
    assert first.verdict == "not judged"
    assert all(spent["nats"] >= 0 and spent["bench"] > 0 for spent in result.cpu.values())
