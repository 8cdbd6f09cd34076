"""Text from outside, whatever it holds, only shows: a terminal obeys none of it, and markup is text."""

from __future__ import annotations

import ast
import json
import logging
from pathlib import Path

import pytest

import compass.cli
from commands import Compass
from compass.cli.printing import print_event, print_json, print_table, say
from compass.cli.process import set_up_logging
from compass.records import Event

NASTY = "[/b] [red]x[/red] \x1b[2J\x1b]0;owned\x07 \x9b31m \u202ecod.exe \ud800 :smile: \r"
OBEYED = ("\x1b", "\x07", "\x9b", "\u202e", "\ud800", "\r")


def shows(text: str) -> None:
    assert not [character for character in OBEYED if character in text]
    assert "\\x1b[2J" in text


def test_markup_in_a_cell_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """One version added with `--trigger '[/b]'` made `compass registry list` fail for ever."""
    print_table(("name [/b]", "b"), [(NASTY, "[bold]")], title=NASTY)
    out = capsys.readouterr().out
    shows(out)
    assert out.count("[/b] [red]x[/red]") == 2
    assert "name [/b]" in out
    assert ":smile:" in out


def test_lines_and_events_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    say(NASTY)
    print_event(Event("status", NASTY), as_json=False)
    shows(capsys.readouterr().out)
    say(f"postgresql://u:hemmelig@host/db {NASTY}", error=True)
    err = capsys.readouterr().err
    shows(err)
    assert "hemmelig" not in err


def test_json_is_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Escapes in strings are JSON's own: a program that reads it gets what was there."""
    print_event(Event("status", NASTY), as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert not [character for character in OBEYED if character in line]
    assert json.loads(line)["summary"] == NASTY
    print_json({"ś": "\x85\u2028"})
    assert json.loads(capsys.readouterr().out) == {"ś": "\x85\u2028"}


def test_a_log_line_is_one_line_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name with a newline in it could write a line of its own into the log."""
    set_up_logging(verbose=False)
    logging.getLogger("compass.test").warning("%s is skipped", f"a\n12:00:00 INFO all is well{NASTY}")
    logging.getLogger("compass.test").error("postgresql://u:hemmelig@host/db?password=hemmelig")
    err = capsys.readouterr().err
    shows(err)
    assert "\n  12:00:00" in err
    assert "hemmelig" not in err


def test_a_wrong_flag_is_not_obeyed(compass: Compass) -> None:
    for arguments in (["\x1b[2J"], ["adapt", "--\x1b[2J"], ["registry", "show", "\x1b[2J"], ["select", "x\x1b[2J"]):
        code, out, err = compass(*arguments)
        assert code == 2
        assert "\x1b" not in out + err


def test_everything_is_printed_in_one_place() -> None:
    """A `print` elsewhere would be the next place that a terminal obeys."""
    folder = Path(compass.cli.__file__).parent
    found = [
        f"{path.name}:{node.lineno}"
        for path in sorted(folder.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert {place.partition(":")[0] for place in found} == {"printing.py", "help.py"}
