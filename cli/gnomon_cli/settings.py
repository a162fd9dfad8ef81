"""Settings of the commands that speak to a running Gnomon."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gnomon_core.runtime.settings import Setting, Settings

__all__ = ["CliSettings"]


class CliSettings(Settings, frozen=True, kw_only=True):
    """Where Gnomon is and who is asking, for `gnomon task`, `gnomon events` and their like."""

    title: ClassVar[str] = "The command line"

    url: str | None = None
    """Address of the api, such as http://127.0.0.1:8080; empty: as `gnomon up` wrote it into its data folder.
    """
    token: Annotated[str | None, Setting(secret=True)] = None
    """Sent as bearer token; empty for none."""
