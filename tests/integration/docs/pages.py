"""The pages of the documentation as things to do: which blocks are commands, and what they show.

What a page may hold, and what becomes of it:

* a fence ```` ```console ````: lines that begin with `$ ` are commands (lines that begin with `> ` go on with one),
  the lines below each are what it shows. They are compared with what it really shows; `…` stands for anything in a
  line, a line that is only `…` for any number of lines. Without lines below, only the exit code counts.
* a fence ```` ```sh ````: one script, whose exit code counts.
* any other language: not a command. A fence without a language is refused, and so is a block that is indented by four
  spaces: nobody could tell whether it is one.

A comment right above a block says more:

* `<!-- not run: reason -->`: it is not run. The reason is for readers of the source, and must be there.
* `<!-- runs on -->`: it does not end by itself. The page goes on once its lines have appeared, in order.
* `<!-- exit code: 1 -->`: its last command fails, and is meant to.
* `<!-- file: NAME -->`: the block is written to that file.
* `<!-- ctrl-c -->`, anywhere: what runs on, and began last, gets Ctrl-C and must end well.
* `<!-- set-up: COMMAND -->`, anywhere: runs on from there unseen, until it is ready; for pages that take a running
  Gnomon for granted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Block", "Command", "Page", "PageError", "how_to_pages", "matches", "pages", "read_page", "shape"]

ROOT = Path(__file__).parents[3]

_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*([\w-]*)\s*$")
_COMMENT = re.compile(r"^\s*<!--\s*(.*?)\s*-->\s*$")
_MARK = re.compile(r"(not run|exit code|file|set-up):\s*(.+)|(runs on|ctrl-c)")
_COMMANDS = ("console", "sh", "bash", "shell")
_ANYTHING = "…"


class PageError(Exception):
    """A page that cannot be understood; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, and the lines that it shows."""

    text: str
    shown: tuple[str, ...] = ()


@dataclass(slots=True)
class Block:
    """One thing to do: a block, or a comment that stands for itself."""

    line: int
    language: str
    commands: list[Command] = field(default_factory=list)
    content: str = ""
    not_run: str | None = None
    runs_on: bool = False
    exit_code: int = 0
    file: str | None = None

    @property
    def to_run(self) -> bool:
        """Whether something happens for it."""
        return bool(self.commands) and self.not_run is None


@dataclass(frozen=True, slots=True)
class Page:
    """One page, its blocks in order."""

    path: Path
    blocks: tuple[Block, ...]

    @property
    def name(self) -> str:
        """Its path below the project's root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def has_commands(self) -> bool:
        """Whether anything on it is run."""
        return any(block.to_run for block in self.blocks)


def pages() -> list[Path]:
    """All pages whose commands are run: the README, and everything under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def how_to_pages() -> list[Path]:
    """Those under docs/how-to, which have a test file of their own: a worker runs a file's tests one by one."""
    return [path for path in pages() if path.parent.name == "how-to"]


def read_page(path: Path) -> Page:
    """The blocks of a page. Raises PageError."""
    return Page(path, tuple(parse(path.read_text(encoding="utf-8"), path.name)))


def parse(text: str, name: str) -> list[Block]:
    """The blocks of a text. Raises PageError."""
    lines, blocks, marks = text.splitlines(), list[Block](), dict[str, str]()
    number, previous_blank = 0, True
    while number < len(lines):
        line = lines[number]
        number += 1
        if found := _FENCE.match(line):
            end = _end_of_fence(lines, number, found[2], f"{name}:{number}")
            content = [one.removeprefix(found[1]) for one in lines[number:end]]
            blocks.append(_block(f"{name}:{number}", number, found[3], content, marks))
            marks, number, previous_blank = {}, end + 1, False
        elif comment := _COMMENT.match(line):
            _take_mark(comment[1], number, blocks, marks, f"{name}:{number}")
        elif line.startswith("    ") and previous_blank and not _in_list(lines, number - 1):
            raise PageError(f"{name}:{number}: an indented block: put it into a fence with its language")
        elif line.strip() and marks:
            raise PageError(f"{name}:{number}: the comment above stands over no block: {', '.join(marks)}")
        if not line.lstrip().startswith("<!--"):
            previous_blank = not line.strip()
    if marks:
        raise PageError(f"{name}: the last comment stands over no block: {', '.join(marks)}")
    return blocks


def _in_list(lines: list[str], number: int) -> bool:
    """Whether an indented line goes on with an item of a list, and is no block."""
    for line in reversed(lines[:number]):
        if line.strip() and not line.startswith("  "):
            return re.match(r"([-*+]|\d+\.)\s", line) is not None
    return False


def _end_of_fence(lines: list[str], start: int, fence: str, where: str) -> int:
    for number in range(start, len(lines)):
        if lines[number].strip() == fence:
            return number
    raise PageError(f"{where}: the fence is not closed")


def _take_mark(words: str, number: int, blocks: list[Block], marks: dict[str, str], where: str) -> None:
    found = _MARK.fullmatch(words)
    if found is None:
        return
    name, value = found[1] or found[3], found[2] or ""
    if name == "ctrl-c":
        blocks.append(Block(number, "ctrl-c"))
    elif name == "set-up":
        blocks.append(Block(number, "set-up", [Command(value, ("ready in …",))], runs_on=True))
    elif name in marks:
        raise PageError(f"{where}: {name} is said twice")
    else:
        marks[name] = value


def _block(where: str, line: int, language: str, content: list[str], marks: dict[str, str]) -> Block:
    if not language:
        raise PageError(f"{where}: a fence without a language: say `text` for what is none")
    block = Block(
        line,
        language,
        content="\n".join(content) + "\n",
        not_run=marks.get("not run"),
        runs_on="runs on" in marks,
        exit_code=int(marks.get("exit code", "0")),
        file=marks.get("file"),
    )
    if language == "console":
        block.commands = _console(content, where)
    elif language in _COMMANDS and block.file is None:
        block.commands = [Command(block.content)]
    if not block.commands and block.file is None and marks:
        raise PageError(f"{where}: {', '.join(marks)} over a block that is no command")
    if block.runs_on and len(block.commands) != 1:
        raise PageError(f"{where}: what runs on must be the only command of its block")
    return block


def _console(content: list[str], where: str) -> list[Command]:
    found: list[tuple[str, list[str]]] = []
    for line in content:
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        elif found:
            found[-1][1].append(line)
        elif line.strip():
            raise PageError(f"{where}: a console begins with a command, `$ …`")
    if not found:
        raise PageError(f"{where}: a console without a command")
    return [Command(text, tuple(_stripped(shown))) for text, shown in found]


def _stripped(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def shape(line: str) -> re.Pattern[str]:
    """The pattern of a shown line: `…` is anything, and blanks count only as such."""
    parts = (re.escape(" ".join(part.split())) for part in line.strip().split(_ANYTHING))
    return re.compile(r"\s*.*?\s*".join(parts))


def matches(shown: tuple[str, ...], real: list[str]) -> str | None:
    """Why what a command really showed is not what the page shows; None where it is."""
    reals = [" ".join(line.split()) for line in real]
    while reals and not reals[-1]:
        reals.pop()
    at, loose = 0, False
    for line in shown:
        if line.strip() == _ANYTHING:
            loose = True
            continue
        pattern = shape(line)
        rest = range(at, len(reals)) if loose else range(at, min(at + 1, len(reals)))
        hit = next((number for number in rest if pattern.fullmatch(reals[number])), None)
        if hit is None:
            instead = reals[at] if at < len(reals) and not loose else "nothing like it"
            return f"the page shows {line.strip()!r}, and it was {instead!r}"
        at, loose = hit + 1, False
    if at < len(reals) and not loose:
        return f"the page does not show {reals[at]!r}"
    return None
