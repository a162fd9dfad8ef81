"""`gnomon ics`: the feed as it came, on the terminal or in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnomon_cli.__main__ import main
from tests.unit.cli.test_api_client import ScriptedApi, api

__all__ = ["api"]

FEED = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"


@pytest.fixture
def url(api: ScriptedApi) -> str:
    """Where the api is that answers with a feed."""
    api.will_answer(200, FEED, Content_Type="text/calendar")
    return api.target.url


def test_a_feed_is_printed_as_it_came(
    api: ScriptedApi, url: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["ics", "--days", "7", "--tag", "home", "--url", url]) == 0
    assert api.asked[0][:2] == ("GET", "/api/v1/calendar.ics?days=7&tag=home")
    assert capfdbinary.readouterr().out.strip() == FEED.strip()


def test_a_feed_goes_into_a_file(api: ScriptedApi, url: str, tmp_path: Path) -> None:
    assert main(["ics", "--url", url, "-o", str(tmp_path / "tasks.ics")]) == 0
    assert (tmp_path / "tasks.ics").read_bytes() == FEED
    api.will_answer(200, FEED)
    assert main(["ics", "--url", url, "-o", str(tmp_path / "no" / "tasks.ics")]) == 1
    api.will_answer(422, {"code": "invalid", "title": "Some fields are not valid", "status": 422})
    assert main(["ics", "--days", "0", "--url", url]) == 1
