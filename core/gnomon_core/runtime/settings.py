"""Settings: declared once as a Struct, documented where they are declared, read from the environment.

Each field is one variable, `GNOMON_` and the field's name in capitals unless `variable` says otherwise. Its
type says how the text is read, its docstring what it means; `render_env_example` prints both. A value that
cannot be read, or is not allowed, stops the process with the variable's name, the value and what is allowed:

    GNOMON_LEASE_TTL='abc': a duration such as 250ms, 5s, 10m, 72h, 7d, or plain seconds

An empty variable counts as not set.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import textwrap
import types
import typing
import zoneinfo
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

from gnomon_core.rules.account_rules import parse_tier_limits
from gnomon_schemas.limits import MAX_PARTITIONS

__all__ = [
    "CommonSettings",
    "Seconds",
    "Setting",
    "SettingDoc",
    "Settings",
    "SettingsError",
    "documented",
    "format_duration",
    "parse_duration",
    "render_env_example",
]


class SettingsError(ValueError):
    """A setting cannot be used. The text names the variable, its value and what is allowed."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a setting besides its type; goes into `Annotated`."""

    variable: str | None = None
    """The environment variable, where it is not `GNOMON_<FIELD>`."""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    """Do not show the value in errors."""
    check: Callable[[Any], bool] | None = None
    """Whether a value that could be read is allowed."""
    allowed: str = ""
    """What is allowed, in words, where the type does not say it all."""


class _Duration:
    """Marks a float as a duration: `5s`, `10m`, `72h` are taken as well as plain seconds."""


Seconds = Annotated[float, _Duration()]
"""A duration in seconds, written as `250ms`, `5s`, `10m`, `72h`, `7d` or plain seconds."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|)")
_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_WORDS = "a duration such as 250ms, 5s, 10m, 72h, 7d, or plain seconds"


def parse_duration(text: str) -> float:
    """Seconds of a duration as written in a setting. Raises ValueError saying what is allowed."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(_DURATION_WORDS)
    return float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """A duration in the largest unit that leaves a whole number."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.12g}{unit}"
    return f"{seconds * 1000:.12g}ms" if seconds else "0s"


def _known_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _tier_limits(text: str) -> bool:
    try:
        parse_tier_limits(text)
    except ValueError:
        return False
    return True


def _nats_url(text: str) -> bool:
    return all(_is_nats_address(address.strip()) for address in text.split(","))


def _is_nats_address(text: str) -> bool:
    try:
        address = urlsplit(text)
        return address.scheme in ("nats", "tls", "ws", "wss") and bool(address.hostname) and address.port != 0
    except ValueError:  # of the port: no number, or none that a port can have
        return False


def _readable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _http_urls(addresses: tuple[str, ...]) -> bool:
    try:
        parts = [urlsplit(address) for address in addresses]
    except ValueError:
        return False
    return all(part.scheme in ("http", "https") and part.netloc for part in parts)


def _without_credentials(text: str) -> str:
    """A value as it may be shown: who signs in by an address, and how, is left out."""
    return re.sub(r"://[^/\s]*@", "://…@", text)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all settings: subclasses declare the fields."""

    title: ClassVar[str] = "Settings"
    """Heading of the class's part in `.env.example`."""

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read every field from `environ`; what is not set takes its default. Raises SettingsError for the
        first fault."""
        values: dict[str, Any] = {}
        for field in _fields(cls):
            text = environ.get(field.variable, "").strip()
            if text:
                values[field.name] = field.read(text)
            elif field.required:
                raise SettingsError(f"{field.variable} is not set: {field.allowed()}")
        return cls(**values)


class _Field:
    """One setting as the loader sees it."""

    def __init__(self, name: str, hint: Any, info: msgspec.structs.FieldInfo, doc: str) -> None:
        self.name = name
        self.doc = doc
        self.info = info
        self.required = info.required
        self.type, self.optional, marks = _unwrap(hint)
        self.duration = any(isinstance(mark, _Duration) for mark in marks)
        self.setting = next((mark for mark in marks if isinstance(mark, Setting)), Setting())
        self.variable = self.setting.variable or f"GNOMON_{name.upper()}"

    @property
    def default(self) -> Any:
        if self.info.default_factory is not msgspec.NODEFAULT:
            return self.info.default_factory()
        return None if self.info.default is msgspec.NODEFAULT else self.info.default

    def read(self, text: str) -> Any:
        """The value of `text`. Raises SettingsError."""
        try:
            value = self._convert(text)
        except ValueError:
            raise self._bad(text, self.allowed()) from None
        setting = self.setting
        if setting.choices and value not in setting.choices:
            raise self._bad(text, self.allowed())
        too_small = setting.least is not None and value < setting.least
        if too_small or (setting.most is not None and value > setting.most):
            raise self._bad(text, self.allowed())
        if setting.check is not None and not setting.check(value):
            raise self._bad(text, self.allowed())
        return value

    def allowed(self) -> str:
        """What may be written, in words."""
        if self.setting.allowed:
            return self.setting.allowed
        if self.setting.choices:
            return "one of " + ", ".join(self.setting.choices)
        words = _TYPE_WORDS.get(self.type, "text")
        if self.duration:
            words = _DURATION_WORDS
        least, most = (self._show(limit) for limit in (self.setting.least, self.setting.most))
        if least and most:
            return f"{words}, {least} to {most}"
        if least:
            return f"{words}, at least {least}"
        return f"{words}, at most {most}" if most else words

    def show_default(self) -> str:
        """The default as it would be written; empty for none."""
        value = self.default
        if value is None or value == ():
            return ""
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        if isinstance(value, bool):
            return "true" if value else "false"
        return self._show(value)

    def _show(self, value: float | str | None) -> str:
        if value is None:
            return ""
        return format_duration(value) if self.duration and not isinstance(value, str) else f"{value}"

    def _convert(self, text: str) -> Any:
        if self.duration:
            return parse_duration(text)
        if self.type is bool:
            return _TRUTHS[text.lower()] if text.lower() in _TRUTHS else _fail()
        if self.type is tuple:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return self.type(text)

    def _bad(self, text: str, allowed: str) -> SettingsError:
        shown = "(not shown)" if self.setting.secret else repr(_without_credentials(text))
        return SettingsError(f"{self.variable}={shown}: {allowed}")


_TRUTHS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
_TYPE_WORDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list with commas",
}


def _fail() -> Any:
    raise ValueError


def _unwrap(hint: Any) -> tuple[type, bool, tuple[Any, ...]]:
    """(plain type, whether None is allowed, what Annotated carries) of a field's type."""
    marks: tuple[Any, ...] = ()
    optional = False
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            marks += hint.__metadata__
            hint = hint.__origin__
        elif origin in (typing.Union, types.UnionType):
            optional = True
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        else:
            return (origin or hint), optional, marks


def _fields(cls: type[Settings]) -> list[_Field]:
    hints = typing.get_type_hints(cls, include_extras=True)
    docs = _field_docs(cls)
    return [
        _Field(info.name, hints[info.name], info, docs.get(info.name, ""))
        for info in msgspec.structs.fields(cls)
    ]


def _field_docs(cls: type) -> dict[str, str]:
    """The text under each field of a class and its bases."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is msgspec.Struct or not issubclass(base, Settings):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                docs[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return docs


class SettingDoc(NamedTuple):
    """What there is to say of one variable."""

    variable: str
    meaning: str
    allowed: str
    default: str
    """As it would be written; empty for none."""


def documented(classes: Sequence[type[Settings]]) -> dict[str, list[SettingDoc]]:
    """Title to the variables of each class, each variable where it first occurs."""
    found: dict[str, list[SettingDoc]] = {}
    seen: set[str] = set()
    for cls in classes:
        for field in _fields(cls):
            if field.variable not in seen:
                seen.add(field.variable)
                doc = SettingDoc(field.variable, field.doc, field.allowed(), field.show_default())
                found.setdefault(cls.title, []).append(doc)
    return found


def render_env_example(classes: Sequence[type[Settings]]) -> str:
    """`.env.example`: every variable of these classes with its meaning, what is allowed, and its default."""
    lines = ["# Every setting of Gnomon, with its default. An empty value counts as not set.", ""]
    for title, docs in documented(classes).items():
        lines += [f"## {title}", ""]
        for doc in docs:
            lines += [f"# {line}".rstrip() for line in doc.meaning.splitlines()]
            lines += [f"# Allowed: {doc.allowed}.", f"{doc.variable}={doc.default}", ""]
    return "\n".join(lines)


class CommonSettings(Settings, frozen=True, kw_only=True):
    """What every process needs."""

    title: ClassVar[str] = "Every process"

    nats_url: Annotated[str, Setting(check=_nats_url, allowed="nats://host:port, several with commas")] = (
        "nats://127.0.0.1:4222"
    )
    """Where NATS is; several nodes of one cluster with commas."""
    nats_creds: Annotated[
        str | None, Setting(check=_readable, allowed="the path of a file that can be read")
    ] = None
    """Path of the NATS credentials file; empty for none."""
    nats_monitor: Annotated[
        tuple[str, ...],
        Setting(check=_http_urls, allowed="http://host:port, one a node of the cluster with commas"),
    ] = ()
    """Monitoring ports of nats-server: they tell whether an acknowledged write is on disk, which NATS does not tell
    its clients."""
    require_durability: Annotated[
        str, Setting(choices=("memory", "written", "fsync", "replicated", "replicated_fsync"))
    ] = "memory"
    """What an acknowledged write must survive; where it would not, the process does not start. `memory`: nothing is
    demanded; `written`: the kill of nats-server; `fsync`: a power cut (needs GNOMON_NATS_MONITOR); `replicated`: the
    loss of a server with its disk; `replicated_fsync`: both."""
    partitions: Annotated[int, Setting(least=1, most=MAX_PARTITIONS)] = 8
    """Shards that the tasks are spread over. The same for every process, and fixed once the streams exist."""
    replicas: Annotated[int, Setting(least=1, most=5)] = 1
    """Copies of every stream: 1 on a single node, 3 on a cluster of three or more."""
    event_ttl: Annotated[Seconds, Setting(least=60)] = 72 * 3600.0
    """How long events stay in the stream; the read models keep them for good."""
    finished_ttl: Annotated[Seconds, Setting(least=0)] = 7 * 86400.0
    """How long finished and deleted tasks stay in the scheduler's memory, and their ids taken."""
    lease_ttl: Annotated[Seconds, Setting(least=1, most=300)] = 5.0
    """After how long a leader that fell silent loses its shards, at the latest. Whole seconds."""
    ack_wait: Annotated[Seconds, Setting(least=1, most=3600)] = 10.0
    """After how long work of an executor that fell silent is given to another."""
    timezone: Annotated[
        str, Setting(check=_known_zone, allowed="a zone of the IANA database, such as Europe/Berlin")
    ] = "UTC"
    """Time zone of schedules that name none."""
    tier_limits: Annotated[
        str,
        Setting(
            check=_tier_limits,
            allowed='JSON such as {"free": {"max_tasks": 20, "runs_per_day": 500, "min_interval_seconds": 60, '
            '"max_concurrent": 2}}; tiers: free, basic, pro, enterprise',
        ),
    ] = ""
    """What users may do at the most, by the tier of their account; users without one are on the free tier. What is left
    out is not limited; an account may have limits of its own. The same for every process."""
    initial_credits: Annotated[float, Setting(least=0, most=1_000_000_000)] = 100.0
    """Credits that an account begins with. The same for every process."""
    require_accounts: bool = False
    """Refuse what users ask for who have no account, rather than treat them as on the free tier."""
    log_level: Annotated[str, Setting(choices=("debug", "info", "warning", "error"))] = "info"
    """Log from this level on."""
    log_format: Annotated[str, Setting(choices=("console", "json"))] = "console"
    """`console` for people, `json` for machines: one object a line."""
    health_port: Annotated[int | None, Setting(least=0, most=65535)] = None
    """Port for /livez, /readyz and /metrics of the scheduler and the executor; 0 takes a free one, empty
    means none."""
    health_host: str = "127.0.0.1"
    """Address to listen on for the health port."""
