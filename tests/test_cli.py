"""The command line as a person meets it: help, wrong input, exit codes. No model is loaded here."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compass.cli import EXIT_BAD_INPUT, EXIT_FAILED, NOISY, main
from compass.config import AdaptConfig, GateConfig
from compass.recipes.adapt import Adapted
from compass.records import Difference
from compass.selection import strategy_names


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command sets up the log of its process: of later tests here, too."""
    logger = logging.getLogger("compass")
    handlers, propagate = logger.handlers, logger.propagate
    levels = {name: logging.getLogger(name).level for name in ("compass", *NOISY)}
    yield
    logger.handlers, logger.propagate = handlers, propagate
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_help_lists_the_commands_and_the_options_by_room(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "--help")
    assert code == 0
    assert all(command in out for command in ("adapt", "select", "train", "evaluate", "report", "env"))
    code, out, _ = _run(capsys, "adapt", "--help")
    assert code == 0
    assert "Options: selection" in out


def test_both_spellings_of_a_flag_are_known(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """trl's users write --lora_r, others --lora-r."""
    for flag in ("--lora-r", "--lora_r"):
        code, _, err = _run(capsys, "adapt", flag, "999", "--output-dir", str(tmp_path))
        assert code == EXIT_BAD_INPUT
        assert "max_serving_rank" in err


def test_all_wrong_options_are_named_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("selection:\n  strategi: compass\ntraining:\n  lora_r: -1\n", encoding="utf-8")
    code, out, err = _run(capsys, "adapt", "--config", str(config), "--budget", "many")
    assert code == EXIT_BAD_INPUT
    assert not out
    assert "did you mean strategy?" in err
    assert "lora_r" in err
    assert "--budget" in err


def test_a_flag_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "adapt", "--lora-rang", "8")
    assert code == 2
    assert "No such option" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--usage", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--language", "xx-nonsense"], "xx-nonsense"),
        (["--strategy", "compas"], "compass"),
    ],
)
def test_bad_input_gives_one_clear_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    """Before any long work starts, and without a traceback."""
    code, out, err = _run(capsys, "adapt", "--output-dir", str(tmp_path / "run"), "--dry-run", *arguments)
    assert code == EXIT_BAD_INPUT
    assert not out
    assert said in err
    assert "Traceback" not in err


def test_a_dry_run_prints_the_plan_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = _run(
        capsys,
        "adapt",
        "--output-dir",
        str(tmp_path / "run"),
        "--cache-dir",
        str(tmp_path / "c"),
        "--dry-run",
        "--json",
    )
    assert code == 0
    steps = {step["step"]: step for step in json.loads(out)}
    assert list(steps) == ["data", "embedding", "space", "selection", "training", "evaluation", "report"]
    assert "usage 36, training data 72" in steps["data"]["what"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        (("--budget", "100"), "about 220 rows, 2 epochs"),
        (("--budget", "2000", "--budget-unit", "tokens"), "about 220 rows, 2 epochs"),
        (("--budget", "999999"), " rows, 2 epochs"),
        (("--strategy", "target-only"), "about 120 rows, 2 epochs"),
        (("--max-steps", "10"), "10 steps"),
    ],
)
def test_a_dry_run_counts_what_will_be_seen(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], rows: str
) -> None:
    """Tokens taken for rows, or a budget beyond the pool, would promise minutes and take hours, or the other way."""
    code, out, _ = _run(capsys, "adapt", "--output-dir", str(tmp_path / "run"), "--dry-run", "--json", *arguments)
    assert code == 0
    (training,) = (step for step in json.loads(out) if step["step"] == "training")
    assert rows in training["what"]
    counted = int(training["what"].split("about ")[1].split()[0])
    assert counted < 8000, "the pool has fewer rows"


def test_the_tests_of_the_embedded_data_can_be_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`assist` was looked for as a file where it was asked for by name."""
    code, out, _ = _run(
        capsys, "adapt", "--output-dir", str(tmp_path / "run"), "--test", "assist", "--dry-run", "--json"
    )
    assert code == 0
    assert "tests: cy 150" in json.loads(out)[0]["what"]


def test_options_are_taken_with_underscores_and_shown_with_dashes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both spellings in the help cut the names of half of the options, and a name that is cut can't be copied."""
    monkeypatch.setenv("COLUMNS", "120")
    code, out, _ = _run(capsys, "adapt", "--help")
    assert code == 0
    assert "--lora-target-modules" in out
    assert "--lora_target_modules" not in out
    code, _, err = _run(capsys, "adapt", "--lora_r", "0", "--learning_rate=-1", "--dry-run")
    assert code == EXIT_BAD_INPUT
    assert "--lora-r" in err
    assert "--learning-rate" in err


def test_the_strategies_are_listed_with_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    """The only list was in the error after a typo."""
    code, out, _ = _run(capsys, "strategies", "--json")
    rows = {row["strategy"]: row for row in json.loads(out)}
    assert code == 0
    assert tuple(rows) == strategy_names()
    assert rows["langrank"]["needs"] == ["a file of transfer results", "urielplus"]
    (own,) = rows["nearest"]["parameters"]
    assert (own["name"], own["default"]) == ("neighbours", 3)
    assert all(row["picks"] for row in rows.values())


def test_one_budget_or_strategy_is_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    """They were taken without a word, and the old grid ran."""
    code, _, err = _run(capsys, "compare", "--budget", "9", "--strategy", "random", "--dry-run")
    assert code == EXIT_BAD_INPUT
    assert "write --budgets" in err
    assert "write --strategies" in err


def test_a_folder_that_can_not_be_made_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, out, err = _run(capsys, "select", "--output-dir", str(tmp_path / "file"))
    assert (code, out) == (EXIT_FAILED, "")
    assert f"{tmp_path / 'file'}: File exists. Choose a place" in err


@pytest.mark.parametrize("option", ["--adapter", "--averaged-trainings"])
def test_what_an_update_decides_itself_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    """They were taken, checked, and overwritten in silence."""
    value = "2" if option.endswith("trainings") else str(tmp_path)
    for command in (
        ("update", str(tmp_path), "window.jsonl", "--output-dir", str(tmp_path / "v1")),
        ("watch", "cy", str(tmp_path)),
    ):
        code, _, err = _run(capsys, *command, option, value)
        assert code in (EXIT_FAILED, EXIT_BAD_INPUT)
        assert f"{option[2:].replace('-', '_')}: an update" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model-name-or-path", "embedded:gpt"), "There is no embedded model 'gpt'"),
        (("--strategy", "given"), "--strategy given:picks=FILE"),
        (("--strategy", "langrank:transfer_results=none.jsonl"), "none.jsonl cannot be read"),
        (("--adapter", "nowhere"), "nowhere is not an adapter folder"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_would_fail_at_the_end_fails_at_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], said: str, dry: tuple[str, ...]
) -> None:
    """After a million rows were embedded it would be told that a model's name has a typo."""
    where = ("--output-dir", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache"))
    code, out, err = _run(capsys, "adapt", *where, *arguments, *dry)
    assert code in (EXIT_FAILED, EXIT_BAD_INPUT)
    assert not out
    assert said in err
    assert not (tmp_path / "run").exists()


def test_a_column_mapping_needs_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "adapt", "--columns", "prompt", "--dry-run")
    assert code == EXIT_BAD_INPUT
    assert "ours=theirs" in err


def test_the_registry_names_all_wrong_options_at_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A level of 5, meant as per cent, would let every version pass; a role with a slip would let none."""
    config = tmp_path / "gate.yaml"
    config.write_text("gate:\n  tolerence: 0.1\n  min_improvement: -1\n", encoding="utf-8")
    flags = ("--gate-level", "5", "--gate-requires", "engish", "--registry-dir", "", "--config", str(config))
    code, out, err = _run(capsys, "registry", "promote", "cy", *flags)
    assert (code, out) == (EXIT_BAD_INPUT, "")
    assert "gate.yaml:2: there is no option 'tolerence'; did you mean tolerance?" in err
    assert "gate.yaml:3: min_improvement must be at least 0; got -1" in err
    assert "--gate-level: gate_level must be at most 0.5; got 5.0" in err
    assert "gate_requires must be one of new-usage, old-usage, period, english; got 'engish'" in err
    assert "registry_dir must not be empty; its default is 'registry'" in err


def test_the_gate_is_asked_with_the_options_of_file_and_flags(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tolerance that was given would not be the one that the gate tests."""
    asked = {}

    def promote(registry: object, language: str, name: str, **more: object) -> tuple[None, None]:
        asked.update(more, root=registry.root, language=language, name=name)
        return None, None

    monkeypatch.setattr("compass.recipes.promote.promote", promote)
    config = tmp_path / "gate.yaml"
    config.write_text(f"registry_dir: {tmp_path / 'versions'}\ntolerance: 0.1\ngate_draws: 500\n", "utf-8")
    flags = ("--tolerance", "0.02", "--tolerance", "period=0.2")
    code, _, _ = _run(capsys, "registry", "promote", "cy", "-c", str(config), *flags)
    assert code == 3
    assert asked["gate"] == GateConfig(tolerance={"default": 0.02, "period": 0.2}, gate_draws=500)
    assert (asked["root"], asked["language"], asked["name"]) == (tmp_path / "versions", "cy", "candidate")
    assert asked["ask_the_gate"] is True
    assert not (tmp_path / "versions").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["xx-nonsense", "logs.jsonl"], EXIT_BAD_INPUT, "xx-nonsense"),
        (["cy", "logs.jsonl"], 1, "Nothing of cy is in production in registry"),
        (["cy", "logs.jsonl", "--webhook-url", "nowhere"], EXIT_BAD_INPUT, "webhook_url must begin with https://"),
        (["cy", "logs.jsonl", "--window", "1", "--gate-level", "2"], EXIT_BAD_INPUT, "gate_level must be at most 0.5"),
    ],
)
def test_a_watch_that_is_refused_leaves_nothing_behind(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    """A folder `watch` would look as if something were watched."""
    (tmp_path / "logs.jsonl").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    got, out, err = _run(capsys, "watch", *arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["logs.jsonl"]


def test_a_result_is_json_for_machines_and_lines_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A script would meet a table, or a person would have to look for the report."""
    row = {"name": "cy", "metric": "exact", "base": 0.1, "adapter": 0.3, "difference": 0.2, "low": 0.1, "high": 0.3}
    done = Adapted(Path("run"), Path("run/adapter"), Path("run/report.html"), {}, (Difference.from_dict(row),))
    monkeypatch.setattr("compass.recipes.adapt.adapt", lambda _: done)
    monkeypatch.chdir(tmp_path)
    _, out, _ = _run(capsys, "adapt", "--output-dir", "run", "--json")
    assert json.loads(out) == {
        "run": "run", "adapter": "run/adapter", "report": "run/report.html", "differences": [row]
    }  # fmt: skip
    _, out, _ = _run(capsys, "adapt", "--output-dir", "run")
    assert "+0.200" in out
    assert out.splitlines()[-1] == f"report: {tmp_path / 'run' / 'report.html'}"


def test_the_report_of_no_run_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = _run(capsys, "report", str(tmp_path))
    assert code == 1
    assert "not a run folder" in err


def test_ctrl_c_says_that_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody who stops a long run must learn that nothing is lost, and scripts need the usual exit code."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compass.recipes.adapt.adapt", interrupted)
    code, out, err = _run(capsys, "adapt", "--output-dir", str(tmp_path))
    assert (code, out) == (130, "")
    assert "the same command goes on" in err


def test_the_command_is_installed_and_prints_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compass.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.1.0"


@pytest.mark.parametrize("flag", ["--train", "--current"])
def test_the_training_data_go_by_both_names(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts that were written with `--current` would stop at the flag."""
    asked: list[AdaptConfig] = []
    monkeypatch.setattr("compass.cli._print_plan", lambda config, **_: asked.append(config))
    with pytest.raises(SystemExit) as stopped:
        main(["adapt", "--dry-run", flag, "have.jsonl"])
    assert stopped.value.code == 0, capsys.readouterr().err
    assert asked[0].data.train == "have.jsonl"
