"""Flags: their spellings, what they become, and those that are wrong."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import NoReturn

import pytest

from commands import Compass
from compass.cli.process import EXIT_BAD_INPUT, EXIT_FAILED
from compass.config import AdaptConfig, EvaluationConfig, GateConfig, dump_config
from compass.errors import ConfigError


def test_both_spellings_of_a_flag_are_known(compass: Compass, tmp_path: Path) -> None:
    """trl's users write --lora_r, others --lora-r."""
    for flag in ("--lora-r", "--lora_r"):
        code, _, err = compass("adapt", flag, "999", "--output-dir", str(tmp_path))
        assert code == EXIT_BAD_INPUT
        assert "max_serving_rank" in err


def test_messages_spell_options_with_hyphens() -> None:
    """Breaks if a message names `--output_dir`, and the help `--output-dir`."""
    found = []
    for file in (Path(__file__).parents[2] / "src").rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
        for text in texts:
            if id(text) not in docstrings and re.search(r"--[a-z]+_[a-z_]+", str(text.value)):
                found.append((file.name, text.value))
    assert found == []


def test_all_wrong_options_are_named_at_once(compass: Compass, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("selection:\n  strategi: compass\ntraining:\n  lora_r: -1\n", encoding="utf-8")
    code, out, err = compass("adapt", "--config", str(config), "--budget", "many")
    assert code == EXIT_BAD_INPUT
    assert not out
    assert "did you mean strategy?" in err
    assert "lora_r" in err
    assert "--budget" in err


def test_a_flag_that_does_not_exist_is_refused(compass: Compass) -> None:
    code, _, err = compass("adapt", "--lora-rang", "8")
    assert code == 2
    assert "--lora-rang: there is no such option; did you mean --lora-r?" in err


def test_one_budget_or_strategy_is_no_comparison(compass: Compass) -> None:
    """They were taken without a word, and the old grid ran."""
    code, _, err = compass("compare", "--budget", "9", "--strategy", "random", "--dry-run")
    assert code == EXIT_BAD_INPUT
    assert "write --budgets" in err
    assert "write --strategies" in err


@pytest.mark.parametrize("option", ["--adapter", "--averaged-trainings"])
def test_what_an_update_decides_itself_is_refused(compass: Compass, tmp_path: Path, option: str) -> None:
    """They were taken, checked, and overwritten in silence."""
    value = "2" if option.endswith("trainings") else str(tmp_path)
    for command in (
        ("update", str(tmp_path), "window.jsonl", "--output-dir", str(tmp_path / "v1")),
        ("watch", "cy", str(tmp_path)),
    ):
        code, _, err = compass(*command, option, value)
        assert code in (EXIT_FAILED, EXIT_BAD_INPUT)
        assert f"{option}: an update" in err


def test_a_column_mapping_needs_both_sides(compass: Compass) -> None:
    code, _, err = compass("adapt", "--columns", "prompt", "--dry-run")
    assert code == EXIT_BAD_INPUT
    assert "ours=theirs" in err


def test_the_registry_names_all_wrong_options_at_once(compass: Compass, tmp_path: Path) -> None:
    """A level of 5, meant as per cent, would let every version pass; a role with a slip would let none."""
    config = tmp_path / "gate.yaml"
    config.write_text("gate:\n  tolerence: 0.1\n  min_improvement: -1\n", encoding="utf-8")
    flags = ("--gate-level", "5", "--gate-requires", "engish", "--registry-dir", "", "--config", str(config))
    code, out, err = compass("registry", "promote", "cy", *flags)
    assert (code, out) == (EXIT_BAD_INPUT, "")
    assert "gate.yaml:2: there is no option 'tolerence'; did you mean tolerance?" in err
    assert "gate.yaml:3: min_improvement must be at least 0; got -1" in err
    assert "--gate-level: gate_level must be at most 0.5; got 5.0" in err
    assert "gate_requires must be one of new-usage, old-usage, period, english; got 'engish'" in err
    assert "registry_dir must not be empty; its default is 'registry'" in err


def test_the_gate_is_asked_with_the_options_of_file_and_flags(
    compass: Compass, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tolerance that was given would not be the one that the gate tests."""
    asked = {}

    def promote(registry: object, language: str, name: str, **more: object) -> tuple[None, None]:
        asked.update(more, root=registry.root, language=language, name=name)
        return None, None

    monkeypatch.setattr("compass.recipes.promote.promote", promote)
    config = tmp_path / "gate.yaml"
    config.write_text(f"registry_dir: {tmp_path / 'versions'}\ntolerance: 0.1\ngate_min_rows: 30\n", "utf-8")
    flags = ("--tolerance", "0.02", "--tolerance", "period=0.2")
    code, _, _ = compass("registry", "promote", "cy", "-c", str(config), *flags)
    assert code == 3
    assert asked["gate"] == GateConfig(tolerance={"default": 0.02, "period": 0.2}, gate_min_rows=30)
    assert (asked["root"], asked["language"], asked["name"]) == (tmp_path / "versions", "cy", "candidate")
    assert asked["ask_the_gate"] is True
    assert not (tmp_path / "versions").exists()


@pytest.mark.parametrize("flag", ["--train", "--current"])
def test_the_training_data_go_by_both_names(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compass: Compass
) -> None:
    """Scripts that were written with `--current` would stop at the flag."""
    have = str(tmp_path / "have.jsonl")
    Path(have).touch()
    asked: list[AdaptConfig] = []
    monkeypatch.setattr("compass.cli.adapt.print_plan", lambda config, **_: asked.append(config))
    code, _, err = compass("adapt", "--dry-run", flag, have)
    assert code == 0, err
    assert asked[0].data.train == (have,)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--seed", "7"), "--seed: a comparison has several; write --seeds"),
        (("--language", "el", "--languages", "cy"), "give all languages with --languages"),
    ],
)
def test_a_comparison_takes_no_flag_that_it_would_not_follow(
    flags: tuple[str, ...], said: str, compass: Compass
) -> None:
    """It would train other seeds or another language than those that were asked for."""
    code, _, err = compass("compare", "--dry-run", *flags)
    assert code == EXIT_BAD_INPUT
    assert said in err


def test_one_language_of_a_comparison_s_file(compass: Compass, tmp_path: Path) -> None:
    """`--language` leaves out the others for every command, and three times the cells would be trained."""
    path = tmp_path / "compass.yaml"
    path.write_text("languages: [cy, el]\nstrategies: [random, compass]\nseeds: [0]\n", encoding="utf-8")
    code, out, _ = compass("compare", "--config", str(path), "--language", "el", "--dry-run", "--json")
    assert code == 0
    assert {cell["language"] for cell in json.loads(out)} == {"el"}


@pytest.mark.parametrize("arguments", [("-h",), ("init", "-h"), ("registry", "list", "-h")])
def test_help_has_its_short_flag(arguments: tuple[str, ...], compass: Compass) -> None:
    code, out, _ = compass(*arguments)
    assert code == 0
    assert out.startswith("Usage: compass")


@pytest.mark.parametrize(
    ("of_parent", "flags", "rows"),
    [(60, (), 200), (300, (), 300), (0, (), 0), (60, ("--max-retention-rows", "30"), 30)],
)
def test_an_update_tests_on_as_many_rows_as_the_gate_needs(
    of_parent: int, flags: tuple[str, ...], rows: int, monkeypatch: pytest.MonkeyPatch, compass: Compass, tmp_path: Path
) -> None:
    """With the 60 rows of a first run no update that changes nothing would pass the gate."""
    asked: list[AdaptConfig] = []

    def update(config: AdaptConfig, *_: object, **__: object) -> NoReturn:
        asked.append(config)
        raise ConfigError("seen")

    monkeypatch.setattr("compass.recipes.update.update", update)
    parent = AdaptConfig(evaluation=EvaluationConfig(max_retention_rows=of_parent))
    (tmp_path / "compass.yaml").write_text(dump_config(parent), encoding="utf-8")
    compass("update", str(tmp_path), "window.jsonl", "--output-dir", str(tmp_path / "new"), *flags)
    assert asked[0].evaluation.max_retention_rows == rows


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("adapt", "--budgte", "9"), ["--budgte: there is no such option; did you mean --budget?"]),
        (("registry", "list", "--registry", "x"), ["there is no such option; did you mean --registry-dir?"]),
        (("adapt", "--zzz"), ["--zzz: there is no such option; compass adapt --help-all shows all options"]),
        (("adapt", "--draw-window", "3"), ["--draw-window: the option draw_window was removed."]),
        (("adapt", "--quiet-hours", "3"), ["--quiet-hours: compass adapt does not take this option"]),
        (("adapt", "--lora-rang=8", "--no-redakt"), ["did you mean --lora-r?", "did you mean --no-redact?"]),
    ],
)
def test_a_wrong_flag_leads_to_the_right_one(compass: Compass, arguments: tuple[str, ...], said: list[str]) -> None:
    """A user would search the whole help for a slip of one letter, one slip at a time."""
    code, out, err = compass(*arguments)
    assert (code, out) == (EXIT_BAD_INPUT, "")
    assert [part for part in said if part not in err] == []


@pytest.mark.parametrize("flag", ["--usage", "--encoder", "--n-clusters", "--lora-r", "--model-name-or-path", "--seed"])
def test_watch_takes_no_options_that_the_version_settles(compass: Compass, flag: str) -> None:
    """They would be taken, and change an update whose space and model are those of the version in production."""
    code, _, err = compass("watch", "cy", "logs.jsonl", flag, "2")
    assert code == EXIT_BAD_INPUT
    assert f"{flag}: compass watch does not take this option" in err


@pytest.mark.parametrize(
    "languages",
    [["--languages", "cy", "el"], ["--languages=cy", "el"], ["--languages", "cy", "--languages", "el"]],
    ids=["values in a row", "the first by a sign", "named each time"],
)
def test_an_option_of_several_values_takes_them_in_a_row(
    compass: Compass, tmp_path: Path, languages: list[str]
) -> None:
    """Transformers' options do. A value after an option of one value is still refused."""
    code, out, err = compass("compare", *languages, "--dry-run", "--output-dir", str(tmp_path / "run"))
    assert code == 0, err
    assert {line.split()[0] for line in out.splitlines() if "nearest" in line} == {"cy", "el"}


def test_a_second_value_of_an_option_of_one_is_refused(compass: Compass) -> None:
    code, _, err = compass("compare", "--n-clusters", "60", "80")
    assert code == 2
    assert "80" in err


@pytest.mark.parametrize(("command", "said"), [("adapt", "One or more."), ("label", "Repeatable.")])
def test_the_help_says_how_several_values_are_given(compass: Compass, command: str, said: str) -> None:
    """A command with arguments would take a further value for one of these: `compass init --language cy el` wrote to
    a file `el`."""
    code, out, _ = compass(command, "--help-all")
    assert code == 0
    page = " ".join(out.split())
    assert f"Multilingual pool to select from. {said}" in page
    assert [word for word in ("One or more.", "Repeatable.") if word in page] == [said]
