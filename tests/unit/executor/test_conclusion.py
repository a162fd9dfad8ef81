"""What is recorded of an attempt, and when another follows."""

from __future__ import annotations

import msgspec

from gnomon_executor.conclusion import Limits, cancelled, concluded, crash_looped, timed_out
from gnomon_executor.handler_end import HandlerEnd, Usage
from gnomon_schemas.events import ErrorInfo
from gnomon_schemas.tasks import RetryPolicy

ERROR = ErrorInfo(type="E", message="m")
THREE = RetryPolicy(max_attempts=3, initial_seconds=10, jitter=0)


def limits(attempt: int = 1, deadline_ms: int | None = None) -> Limits:
    return Limits(THREE, attempt, deadline_ms)


def test_a_return_completes() -> None:
    end = HandlerEnd(how="returned", result=msgspec.Raw(b"1"), usage=Usage(tokens=3))
    what = concluded(end, limits(), now_ms=0, draw=0.5)
    assert (what.status, bytes(what.result), what.retry_at_ms, what.usage.tokens) == (
        "completed",
        b"1",
        None,
        3,
    )


def test_an_error_is_retried_by_the_policy_until_attempts_are_used_up() -> None:
    end = HandlerEnd(how="raised", error=ERROR)
    assert concluded(end, limits(1), now_ms=1000, draw=0.5).retry_at_ms == 11_000
    assert concluded(end, limits(3), now_ms=1000, draw=0.5).retry_at_ms is None


def test_retry_and_do_not_retry_decide() -> None:
    again = HandlerEnd(how="retry", error=ERROR, retry_after=2)
    never = HandlerEnd(how="do_not_retry", error=ERROR)
    assert concluded(again, limits(), now_ms=0, draw=0.5).retry_at_ms == 2000
    what = concluded(never, limits(), now_ms=0, draw=0.5)
    assert (what.status, what.retry_at_ms, what.reason) == ("failed", None, "do_not_retry")


def test_no_attempt_follows_the_end_of_all_attempts() -> None:
    end = HandlerEnd(how="raised", error=ERROR)
    assert concluded(end, limits(1, 5000), now_ms=0, draw=0.5).retry_at_ms is None


def test_a_timeout_is_retried_and_the_total_one_is_not() -> None:
    one = timed_out("timeout", 3, limits(), now_ms=0, draw=0.5, usage=Usage())
    both = timed_out("total_timeout", 9, limits(), now_ms=0, draw=0.5, usage=Usage())
    assert (one.status, one.retry_at_ms, one.reason) == ("timed_out", 10_000, "timeout")
    assert (both.status, both.retry_at_ms, both.reason) == ("timed_out", None, "total_timeout")


def test_a_cancel_keeps_what_the_handler_still_returned() -> None:
    what = cancelled(HandlerEnd(how="returned", result=msgspec.Raw(b'"partial"')), "by hand", Usage())
    assert (what.status, bytes(what.result), what.reason) == ("cancelled", b'"partial"', "cancelled")
    assert what.error is not None
    assert what.error.message == "by hand"


def test_a_crash_loop_says_how_often() -> None:
    what = crash_looped(3)
    assert (what.status, what.reason) == ("failed", "crash_loop")
    assert what.error is not None
    assert "4 times" in what.error.message
