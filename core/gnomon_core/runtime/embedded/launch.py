"""Becomes a server process: gives up privileges, ties its life to its parent's, then executes the server.

Run by path with `python -I -S`, so it imports the standard library only and stays quick. It is a program of
its own, and not a function called between fork and exec, because after a fork in a process with threads
little Python is safe.

How the server is kept from outliving the process that started it, even when that is killed with SIGKILL:

* Linux: the kernel sends a signal when the parent dies (PR_SET_PDEATHSIG). It is set after the change of
  user, which would clear it, and the parent is looked at once more afterwards, since it may have died just
  before.
* Elsewhere (macOS) there is no such signal. A watcher is forked off *before* the exec, so that the server
  keeps the process id its parent knows. The watcher holds the reading end of a pipe whose only writer is the
  parent; at end of file it signals the server, and ten seconds later kills it. Its own parent is the server:
  as long as that is so, the process id cannot have been reused by somebody else. What does not hold there: a
  watcher that is itself killed.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
KILL_AFTER_SECONDS = 10.0


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the launcher's own arguments; all after `--` is the server's command."""
    parser = argparse.ArgumentParser(prog="launch")
    parser.add_argument(
        "--parent", type=int, required=True, help="process id of the process that starts the server"
    )
    parser.add_argument(
        "--death-signal", type=int, required=True, help="what the server gets when the parent dies"
    )
    parser.add_argument(
        "--watch-fd", type=int, default=-1, help="reading end of the parent's pipe: use a watcher"
    )
    parser.add_argument(
        "--keep-fd", type=int, default=-1, help="file descriptor that only the server may inherit"
    )
    parser.add_argument("--uid", type=int, default=-1, help="user to become")
    parser.add_argument("--gid", type=int, default=-1, help="group to become")
    parser.add_argument(
        "--can-reach", action="append", default=[], help="only test whether the user can reach this"
    )
    parser.add_argument("command", nargs="*")
    return parser.parse_args(argv)


def become(uid: int, gid: int) -> None:
    """Give up all privileges for good: groups first, since a plain user may not change them."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(parent: int, death_signal: int) -> None:
    """Ask the Linux kernel for a signal at the parent's death.

    Exits at once if the parent is gone already.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        sys.exit(1)


def fork_watcher(watch_fd: int, keep_fd: int, death_signal: int) -> None:
    """Fork the process that ends the server when the parent's pipe closes; return in the server-to-be."""
    server = os.getpid()
    if os.fork() != 0:
        os.close(watch_fd)
        return
    os.setsid()
    for descriptor in {0, 1, 2, keep_fd} - {-1}:
        os.close(descriptor)
    while os.read(watch_fd, 1):
        pass  # nobody writes: read returns only at end of file
    deadline = time.monotonic() + KILL_AFTER_SECONDS
    wanted = death_signal
    while os.getppid() == server:
        os.kill(server, wanted)
        # The server is not this process's child, so there is nothing to wait for but the change of parent.
        time.sleep(0.05)
        wanted = signal.SIGKILL if time.monotonic() > deadline else 0
    os._exit(0)


def main(argv: list[str]) -> None:
    """Do what the module says, in an order in which every step is still allowed."""
    given = parse(argv)
    if given.watch_fd >= 0:
        fork_watcher(given.watch_fd, given.keep_fd, given.death_signal)
    if given.uid >= 0:
        become(given.uid, given.gid)
    if given.can_reach:
        sys.exit(0 if all(os.access(path, os.X_OK) for path in given.can_reach) else 1)
    if given.watch_fd < 0:
        die_with_parent(given.parent, given.death_signal)
    # Python ignores these two, and what is ignored stays so across an exec.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(given.command[0], given.command)
    except OSError as error:
        sys.stderr.write(f"cannot execute {given.command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
