"""`gnomon ics`: past runs, coming fires, due dates and reminders as an iCalendar."""

from __future__ import annotations

import argparse
from pathlib import Path

from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, CliError
from gnomon_cli.shown import counted
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal

__all__ = ["feed_command"]


def feed_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the calendar, or write it to a file. Raises `CliError` when there is no answer."""
    api = ApiClient(find_target(options.url, options.data))
    feed = api.get_text(
        "/calendar.ics", days=options.days, task_type=options.type, tag=options.tag, user_id=options.user
    )
    if options.output is None:
        terminal.raw(feed)
        return OK
    try:
        Path(options.output).write_bytes(feed)
    except OSError as error:
        raise CliError(f"{options.output} cannot be written: {error.strerror}") from None
    terminal.line(
        f"{options.output}: {counted(feed.count(b'BEGIN:VEVENT'), 'event')}, "
        f"{counted(feed.count(b'BEGIN:VTODO'), 'to-do')}"
    )
    return OK
