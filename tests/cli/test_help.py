"""What the command line says of itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from commands import Compass
from compass.cli.process import EXIT_BAD_INPUT
from compass.selection import strategy_names


def test_help_lists_the_commands_and_the_options_by_room(compass: Compass) -> None:
    code, out, _ = compass("--help")
    assert code == 0
    assert all(command in out for command in ("adapt", "select", "train", "evaluate", "report", "env"))
    code, out, _ = compass("adapt", "--help")
    assert code == 0
    assert "\nSelection:\n" in out


def test_options_are_taken_with_underscores_and_shown_with_dashes(
    compass: Compass, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both spellings in the help cut the names of half of the options, and a name that is cut can't be copied."""
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = compass("adapt", "--help")
    assert code == 0
    assert "--lora-target-modules" in out
    assert "--lora_target_modules" not in out
    code, _, err = compass("adapt", "--lora_r", "0", "--learning_rate=-1", "--dry-run")
    assert code == EXIT_BAD_INPUT
    assert "--lora-r" in err
    assert "--learning-rate" in err


def test_the_strategies_are_listed_with_what_they_need(compass: Compass) -> None:
    """The only list was in the error after a typo."""
    code, out, _ = compass("strategies", "--json")
    rows = {row["strategy"]: row for row in json.loads(out)}
    assert code == 0
    assert tuple(rows) == strategy_names()
    assert rows["langrank"]["needs"] == ["a file of transfer results", "urielplus"]
    (own,) = rows["nearest"]["parameters"]
    assert (own["name"], own["default"]) == ("neighbours", 3)
    assert all(row["picks"] for row in rows.values())


def test_the_command_is_installed_and_prints_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compass.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.1.0"
