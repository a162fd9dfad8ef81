"""How handlers end: results and errors in a form that can be recorded."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon import DoNotRetry, Retry
from gnomon_executor.handler_end import Usage, cut_text, error_info, raised, returned
from gnomon_schemas.limits import ERROR_TEXT_MAX, RESULT_MAX


def test_a_value_is_kept_as_json() -> None:
    end = returned({"a": [1, None, "x"]}, Usage())
    assert (end.how, bytes(end.result), end.truncated) == ("returned", b'{"a":[1,null,"x"]}', False)


def test_nothing_returned_is_null() -> None:
    assert bytes(returned(None, Usage()).result) == b"null"


@pytest.mark.parametrize(
    "text", ["x" * (RESULT_MAX + 1), '"\\' * RESULT_MAX, "\x00" * RESULT_MAX, "ä€😀" * RESULT_MAX]
)
def test_a_result_that_is_too_long_is_cut_and_says_so(text: str) -> None:
    """Whatever it is made of, what is kept is JSON, within the limit, and tells how long it was."""
    end = returned(text, Usage())
    kept = msgspec.json.decode(end.result)
    assert end.truncated
    assert len(bytes(end.result)) <= RESULT_MAX
    assert kept["truncated"] is True
    assert kept["bytes"] == len(msgspec.json.encode(text))
    assert msgspec.json.encode(text).decode().startswith(kept["head"])


class Spiteful:
    def __str__(self) -> str:
        raise RuntimeError("no")


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1: object()},
        {"a": object},
        nested(200),
        "\ud800",
        {"answer": msgspec.Raw(b'{"cut": ')},
        {"answer": msgspec.Raw(b'"\xff"')},
        {"answer": msgspec.Raw(b'"\\ud800"')},
        msgspec.Raw(b""),
    ],
)
def test_what_is_no_json_becomes_a_failure_that_says_so(value: object) -> None:
    end = returned(value, Usage())
    assert end.how == "do_not_retry"
    assert end.error is not None
    assert end.error.type == "ResultNotEncodable"


def test_brackets_in_strings_are_no_depth() -> None:
    assert returned("[" * 1000, Usage()).how == "returned"
    assert returned(["[" * 10] * 100, Usage()).how == "returned"


def fail() -> None:
    raise ValueError("broken " * 10)


def test_an_error_keeps_type_message_and_traceback() -> None:
    with pytest.raises(ValueError, match="broken") as caught:
        fail()
    end = raised(caught.value, Usage())
    assert end.how == "raised"
    assert end.error is not None
    assert end.error.type == "ValueError"
    assert "def fail" not in end.error.message
    assert end.error.traceback is not None
    assert "in fail" in end.error.traceback


def test_a_long_traceback_loses_its_beginning() -> None:
    info = error_info(ValueError("y" * 100_000))
    assert info.traceback is not None
    assert len(info.traceback.encode()) <= ERROR_TEXT_MAX
    assert info.traceback.rstrip().endswith("y")


def test_an_exception_whose_text_cannot_be_had_is_recorded_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "cannot be shown" in error_info(Odd()).message


def test_decisions_of_the_handler() -> None:
    again = raised(Retry(after=5, reason="later"), Usage())
    assert (again.how, again.retry_after) == ("retry", 5)
    never = raised(DoNotRetry("hopeless"), Usage())
    assert never.how == "do_not_retry"
    assert never.error is not None
    assert (never.error.message, never.error.traceback) == ("hopeless", None)


def test_a_decision_raised_from_an_error_tells_of_the_error() -> None:
    cause = KeyError("k")
    decision = DoNotRetry("no use")
    decision.__cause__ = cause
    info = error_info(decision)
    assert info.type == "KeyError"


def test_details_of_an_error_are_kept_where_they_are_json() -> None:
    class WithDetails(Exception):
        details: object = None

    error = WithDetails()
    error.details = {"status": 500}
    assert error_info(error).details == {"status": 500}
    error.details = {"x": object()}
    assert "note" in (error_info(error).details or {})
    error.details = lambda: None
    assert error_info(error).details is None


@given(st.text(), st.integers(30, 400))
def test_cut_text_stays_within_its_limit(text: str, limit: int) -> None:
    cut = cut_text(text, limit)
    assert len(cut.encode()) <= limit
    if len(text.encode("utf-8", "replace")) <= limit:
        assert cut == text.encode("utf-8", "replace").decode()
