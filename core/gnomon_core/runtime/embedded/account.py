"""The unprivileged user under which Postgres runs when Gnomon itself runs as root.

Postgres refuses to run as root, and rightly. So it runs as an existing unprivileged user, which must be able
to reach both the binaries and the data. No permission of anything that Gnomon did not make is changed for
that: where a folder on the way is closed (a clone under /root, say), what Postgres needs is put below
`STATE_FOR_ROOT` instead.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gnomon_core.runtime.embedded.errors import EmbeddedServerError

__all__ = ["LAUNCHER", "STATE_FOR_ROOT", "Account", "account_for", "can_reach", "make_state_for_root"]

LAUNCHER = Path(__file__).with_name("launch.py")
"""The program that becomes a server process."""

STATE_FOR_ROOT = Path("/var/lib/gnomon")
"""Where root puts what an unprivileged user must reach, when the folder itself is closed to others."""

_CANDIDATES = ("nobody", "postgres", "daemon")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine: numeric user and group id, and the name for messages."""

    uid: int
    gid: int
    name: str


def account_for(data: Path) -> Account | None:
    """Return the user that shall run Postgres on this data folder; None means: the user we are.

    An existing folder keeps its owner. Raises `EmbeddedServerError` when root finds no unprivileged user.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid) != 0:
        try:
            entry = pwd.getpwuid(owner)
        except KeyError:
            raise EmbeddedServerError(
                f"{data} belongs to user id {owner}, unknown to this machine: chown it to a known user"
            ) from None
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    for name in _CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    raise EmbeddedServerError(
        f"Postgres does not run as root, and none of the users {', '.join(_CANDIDATES)} exists here: "
        "run gnomon as an ordinary user, or set GNOMON_DATABASE_URL to a Postgres of your own"
    )


def make_state_for_root() -> Path:
    """Make `STATE_FOR_ROOT` if it is not there, open to passers-by whatever the umask, and return it."""
    if not STATE_FOR_ROOT.exists():
        STATE_FOR_ROOT.mkdir(parents=True, exist_ok=True)
        STATE_FOR_ROOT.chmod(0o755)
    return STATE_FOR_ROOT


def can_reach(account: Account, *paths: Path) -> bool:
    """Tell whether this user can enter all the folders and execute all the files.

    Asked by trying it, as that user. Raises `EmbeddedServerError` when becoming that user fails.
    """
    command = [sys.executable, "-I", "-S", str(LAUNCHER), "--parent", str(os.getpid()), "--death-signal", "9"]
    command += ["--uid", str(account.uid), "--gid", str(account.gid)]
    for path in paths:
        command += ["--can-reach", str(path)]
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if answer.returncode not in (0, 1) or answer.stderr:
        raise EmbeddedServerError(f"cannot act as user {account.name}: {answer.stderr.strip()}")
    return answer.returncode == 0
