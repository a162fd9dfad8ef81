"""How pages are read before their commands are run: what is a command, what is not, and what is like what."""

from __future__ import annotations

import pytest

from tests.integration.docs.pages import Command, PageError, matches, parse


def test_a_console_is_commands_and_what_they_show() -> None:
    (block,) = parse("```console\n$ echo a \\\n> b\na b\n\n$ true\n```\n", "p.md")
    assert block.commands == [Command("echo a \\\nb", ("a b",)), Command("true")]
    assert block.to_run
    assert block.line == 1


def test_a_script_is_one_command_and_other_languages_are_none() -> None:
    script, other = parse("```sh\na\nb\n```\n\n```python\nx = 1\n```\n", "p.md")
    assert script.commands == [Command("a\nb\n")]
    assert not other.to_run


def test_marks_belong_to_the_block_below_them() -> None:
    text = "<!-- not run: needs Docker -->\n```sh\ndocker\n```\n<!-- exit code: 2 -->\n```sh\nfalse\n```\n"
    first, second = parse(text, "p.md")
    assert (first.not_run, first.to_run) == ("needs Docker", False)
    assert (second.exit_code, second.to_run) == (2, True)
    kept, ctrl_c, set_up = parse(
        "<!-- file: a.py -->\n```python\nx\n```\n<!-- ctrl-c -->\n<!-- set-up: up -->\n", "p.md"
    )
    assert (kept.file, kept.content) == ("a.py", "x\n")
    assert ctrl_c.language == "ctrl-c"
    assert (set_up.runs_on, set_up.commands[0].text) == (True, "up")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```\nx\n```\n", "p.md:1: a fence without a language"),
        ("Text:\n\n    make demo\n", "p.md:3: an indented block"),
        ("```sh\nx\n", "not closed"),
        ("```console\nno prompt\n```\n", "begins with a command"),
        ("<!-- not run: why -->\n\nText\n", "stands over no block"),
        ("<!-- not run: why -->\n```json\n{}\n```\n", "no command"),
        ("<!-- runs on -->\n```console\n$ a\n$ b\n```\n", "only command"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_its_line(text: str, words: str) -> None:
    with pytest.raises(PageError, match=words):
        parse(text, "p.md")


def test_a_reason_is_needed_for_what_is_not_run() -> None:
    (block,) = parse("<!-- not run: -->\n```sh\nfalse\n```\n", "p.md")
    assert block.to_run


def test_a_list_s_second_paragraph_is_no_block() -> None:
    assert parse("- an item\n\n    goes on\n", "p.md") == []


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        (("a  b",), ["a b   ", ""], True),
        (("took … ms",), ["took 12.5 ms"], True),
        (("took … ms",), ["took 12.5 s"], False),
        (("a",), ["a", "b"], False),
        (("a", "…"), ["a", "b", "c"], True),
        (("…", "c"), ["a", "b", "c"], True),
        (("…", "d"), ["a", "b", "c"], False),
        (("a", "b"), ["a"], False),
        (("a.c",), ["abc"], False),
    ],
)
def test_what_is_shown_is_compared_by_its_shape(shown: tuple[str, ...], real: list[str], same: bool) -> None:
    assert (matches(shown, real) is None) is same
