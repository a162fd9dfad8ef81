"""`gnomon device`: a login for a user's phone, as nats-server's configuration takes it.

Nothing is asked and nothing is changed: who runs NATS puts the entry into `devices.conf` and has the server read it.
"""

from __future__ import annotations

import argparse
import re
import secrets
from typing import Final

import msgspec

from gnomon_cli.errors import OK, UsageError
from gnomon_cli.terminal import Terminal
from gnomon_schemas.accounts import account_id_of
from gnomon_schemas.subjects import device_notes

__all__ = ["DeviceLogin", "device_command", "new_login"]

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class DeviceLogin(msgspec.Struct, frozen=True, kw_only=True):
    """What a device needs, and the entry that lets it in."""

    user: str
    """The name it logs in by."""
    password: str
    topic: str
    """What it subscribes to, over MQTT."""
    entry: str
    """One line for `devices.conf`."""


def new_login(user_id: str, name: str) -> DeviceLogin:
    """A login with a fresh password of 128 random bits, for one device of a user.

    Raises UsageError where `user_id` is empty or `name` is not of 1 to 64 letters, digits, `_` and `-`.
    """
    if not user_id:
        raise UsageError("USER is empty: allowed is the id of a user")
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name is {name!r}: allowed are 1 to 64 of A-Z a-z 0-9 _ -")
    account = account_id_of(user_id)
    subject = device_notes(account)
    login, password = f"{name}-of-{account}", secrets.token_urlsafe(16)
    # Quoted: nats-server would read some words and digits as numbers. None of these characters needs an escape.
    entry = (
        f'{{ user: "{login}", password: "{password}", allowed_connection_types: ["MQTT"], '
        f'permissions: {{ publish: {{ deny: [">"] }}, subscribe: {{ allow: ["{subject}"] }} }} }}'
    )
    return DeviceLogin(user=login, password=password, topic=subject.replace(".", "/"), entry=entry)


def device_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print a new login. Raises `CliError` for a user or name that cannot be."""
    login = new_login(options.user, options.name)
    if options.json:
        terminal.raw(msgspec.json.format(msgspec.json.encode(login), indent=2))
    else:
        # The id as ASCII with escapes: a line break in it would begin a line of the configuration.
        terminal.line(f"# {options.name} of {options.user!a}: subscribes to {login.topic}")
        terminal.line(login.entry)
    return OK
