"""What can go wrong with a server that Gnomon runs itself."""

from __future__ import annotations

__all__ = ["EmbeddedServerError", "PlatformRefused", "PortTaken"]


class EmbeddedServerError(RuntimeError):
    """An embedded server could not be started, or ended by itself. The message says what to do next."""


class PortTaken(EmbeddedServerError):
    """The port that was asked for is used by another process."""


class PlatformRefused(EmbeddedServerError):
    """The binaries of the embedded servers are not there, or there are none for this platform."""
