"""What the command line says of itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Compass
from compass.cli.flags import TITLES
from compass.cli.process import EXIT_BAD_INPUT
from compass.config import UPDATE_METHODS, AdaptConfig, all_options, fields_of, load_config
from compass.errors import ConfigError
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
    code, out, _ = compass("adapt", "--help-all")
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


LIMITS = {
    "adapt": 25, "compare": 25, "evaluate": 20, "monitor": 20, "select": 20, "train": 20, "update": 20, "watch": 20,
    "registry promote": 20, "inspect": 20,
}  # fmt: skip
"""Command -> options that its `--help` may show at most."""


def options_of(page: str) -> list[str]:
    """Return the options on a page of help."""
    return [found[1] for line in page.splitlines() if (found := re.match(r"  (?:-\w, )?(--\S+)", line))]


@pytest.mark.parametrize("command", LIMITS)
def test_help_is_short_and_leads_to_all_options(compass: Compass, command: str) -> None:
    """A newcomer would read a hundred options to find the ten that matter, or never learn that there are more."""
    code, short, _ = compass(*command.split(), "--help")
    assert code == 0
    assert len(options_of(short)) <= LIMITS[command]
    code, full, _ = compass(*command.split(), "--help-all")
    assert code == 0
    assert set(options_of(short)) <= set(options_of(full))
    more = len(options_of(full)) - len(options_of(short))
    plural = "s" * (more != 1)
    assert short.splitlines()[-1] == f"compass {command} --help-all shows {more} more option{plural}."
    assert "--help-all" not in full


@pytest.mark.parametrize("page", ["--help", "--help-all"])
@pytest.mark.parametrize(
    "command", [*LIMITS, "report", "strategies", "env", *(f"registry {name}" for name in ("add", "list", "prune"))]
)
def test_help_fits_a_terminal(compass: Compass, command: str, page: str) -> None:
    """Names or sentences would be cut or broken in a window of 80 columns, or an option would have no help."""
    _, out, err = compass(*command.split(), page)
    assert not err
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith(f"Usage: compass {command} [OPTIONS]")
    assert "…" not in out


def test_the_list_of_commands_says_what_each_does(compass: Compass, monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary that is cut says nothing."""
    monkeypatch.setenv("COLUMNS", "80")
    for group in ((), ("registry",)):
        _, out, _ = compass(*group, "--help")
        assert "..." not in out.partition("Commands:")[2]
        assert max(map(len, out.splitlines())) <= 80


def test_each_option_is_on_the_page_of_its_command(compass: Compass) -> None:
    """An option would be known to the code alone."""
    _, out, _ = compass("adapt", "--help-all")
    flags = {option.flag.removeprefix("--") for option in fields_of(AdaptConfig)}
    assert flags <= {name.replace("[no-]", "").removeprefix("--") for name in options_of(out)}


def test_every_section_has_a_title() -> None:
    """A command with the options of a new section could not be built."""
    assert {option.section for option in all_options().values()} == set(TITLES)


def test_help_lines_are_short_sentences() -> None:
    """An option would need a paragraph to be understood."""
    for option in all_options().values():
        assert option.help.endswith("."), option.name
        assert len(option.help) <= 110, option.name


def test_the_help_says_what_an_option_falls_back_on(compass: Compass) -> None:
    """The default of `adapt` would be read as that of an update, which has its parent's."""
    _, out, _ = compass("adapt", "--help")
    assert "Rows or tokens to select, or auto. [default: 240]" in out
    _, out, _ = compass("update", "--help")
    assert "Rows or tokens to select, or auto. [default: the parent's]" in out


def test_the_help_explains_each_way_to_update(compass: Compass) -> None:
    """A user would choose between seven names by guessing."""
    _, out, _ = compass("update", "--help")
    table = out.partition("Values of --method:")[2]
    assert [name for name in UPDATE_METHODS if f"\n  {name} " not in table] == []


@pytest.mark.parametrize("command", [("serve",), ("adapt",), ("watch", "cy"), ("registry", "list")])
def test_an_unknown_option_of_a_file_leads_to_the_help_of_the_command(
    compass: Compass, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """The help of another command does not show the option that was meant."""
    file = tmp_path / "options.yaml"
    file.write_text("zzzzzz: 1\n", "utf-8")
    code, _, err = compass(*command, "--config", str(file))
    name = " ".join(part for part in command if part != "cy")
    assert (code, f"there is no option 'zzzzzz'; compass {name} --help-all shows all options" in err) == (2, True)
    with pytest.raises(ConfigError, match="compass adapt --help-all"):
        load_config(file)
