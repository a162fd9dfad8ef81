"""A process that has imported a program and forks what `forking` asks for: `python -m tests.harness.stem PROGRAM …`.

Standard input is the socket on which requests come. It is poll, not epoll, that waits: an epoll would be shared with
the children.
"""

from __future__ import annotations

import importlib
import os
import runpy
import select
import signal
import socket
import sys
import time
from typing import Final

import msgspec

from gnomon_core.runtime.embedded.launch import die_with_parent
from tests.harness.forking import Wanted

_MAX_REQUEST: Final = 256 * 1024


class Stem:
    """The loop: requests on one side, children that end on the other."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._telling: dict[int, socket.socket] = {}
        """By descriptor of a child (its pidfd): where to tell of its end."""
        self._pids: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)

    def serve(self) -> Wanted | None:
        """Serve until nobody asks any more (None), or until this is a child that goes on as the program."""
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._pids:
                    self._tell_end(descriptor)
                    continue
                data, (output, teller), _, _ = _received(self._requests)
                if not data:
                    return None
                if self._fork(output, teller):
                    return msgspec.json.decode(data, type=Wanted)

    def _fork(self, output: int, teller: int) -> bool:
        """Fork; whether this is the child."""
        telling, stem = socket.socket(fileno=teller), os.getpid()
        if pid := os.fork():
            os.close(output)
            pidfd = os.pidfd_open(pid)
            self._telling[pidfd], self._pids[pidfd] = telling, pid
            self._poll.register(pidfd, select.POLLIN)
            _say(telling, pid)
            return False
        die_with_parent(stem, signal.SIGKILL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for pidfd in self._pids:
            os.close(pidfd)
        for each in (telling, self._requests, *self._telling.values()):
            each.close()
        return True

    def _tell_end(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(self._pids.pop(pidfd), 0)
        telling = self._telling.pop(pidfd)
        _say(telling, os.waitstatus_to_exitcode(status))
        telling.close()


def _received(requests: socket.socket) -> tuple[bytes, tuple[int, int], int, object]:
    data, descriptors, flags, address = socket.recv_fds(requests, _MAX_REQUEST, 2)
    return data, (descriptors[0], descriptors[1]) if descriptors else (-1, -1), flags, address


def _say(telling: socket.socket, number: int) -> None:
    try:
        telling.sendall(b"%d\n" % number)
    except (BrokenPipeError, ConnectionResetError):
        return  # the test is over and nobody listens


def main(program: str, preloaded: list[str]) -> None:
    """Import, serve, and in a child: be the program."""
    requests = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for name in preloaded:
        importlib.import_module(name)
    wanted = Stem(requests).serve()
    if wanted is None:
        return
    os.environ.clear()
    os.environ.update(wanted.env)
    time.tzset()
    sys.argv = [program]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
