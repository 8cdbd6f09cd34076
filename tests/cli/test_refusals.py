"""Wrong input and what stops a command: one clear message, an exit code, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Compass
from compass.cli.process import EXIT_BAD_INPUT, EXIT_BUG, EXIT_FAILED
from compass.errors import ConfigError, DataError, RunError
from compass.steps.read import check_sources


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--usage", "nowhere.jsonl", "--train", "none", "--pool", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--language", "xx-nonsense"], "xx-nonsense"),
        (["--strategy", "compas"], "compass"),
    ],
)
def test_bad_input_gives_one_clear_message(compass: Compass, tmp_path: Path, arguments: list[str], said: str) -> None:
    """Before any long work starts, and without a traceback."""
    code, out, err = compass("adapt", "--output-dir", str(tmp_path / "run"), "--dry-run", *arguments)
    assert code == EXIT_BAD_INPUT
    assert not out
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["adapt", "select"])
def test_all_wrong_options_are_told_at_once(
    compass: Compass, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """Breaks if a user learns of a second wrong option only after the first is mended, or of one twice."""
    monkeypatch.chdir(tmp_path)
    sources = ("--usage", "u.jsonl", "--pool", "p.jsonl", "--pool", "q.jsonl", "--train", "{language}.jsonl")
    where = ("--output-dir", "run", *sources)
    code, out, err = compass(command, *where, "--language", "cy", "--strategy", "compas", "--budget", "x")
    assert (code, out) == (EXIT_BAD_INPUT, "")
    told = ("--budget: budget must be", "u.jsonl: no such", "p.jsonl: no", "q.jsonl: no", "cy.jsonl: no", "'compas' is")
    assert [err.count(part) for part in told] == [1] * len(told)
    # What follows from another wrong option is not guessed at.
    given = ("--strategy", "given:picks={seed}", "--seed", "x")
    code, _, err = compass(command, *where, "--language", "klingonish", *given)
    assert code == EXIT_BAD_INPUT
    told = ("--seed: seed must be", "u.jsonl: no such", "klingonish", "{language}", "given", "und.jsonl")
    assert [err.count(part) for part in told] == [1, 1, 1, 0, 0, 0]
    assert not list(tmp_path.iterdir())


def test_all_wrong_names_of_a_comparison_are_told_at_once(compass: Compass) -> None:
    code, _, err = compass("compare", "--dry-run", "--strategies", "compas", "randm", "--languages", "cy", "klingonish")
    assert code == EXIT_BAD_INPUT
    assert [err.count(name) for name in ("'compas'", "'randm'", "'klingonish'")] == [1, 1, 1]


def test_all_missing_sources_of_an_update_are_told_at_once(tmp_path: Path) -> None:
    """In Python they are raised together too; a lone one is a DataError, as before."""
    with pytest.raises(ConfigError) as raised:
        check_sources(str(tmp_path / "a.jsonl"), "", "hub:x", "none", str(tmp_path / "b.jsonl"))
    assert len(raised.value.problems) == 2
    with pytest.raises(DataError, match="no such file"):
        check_sources(str(tmp_path / "a.jsonl"))


def test_the_demo_says_first_that_it_is_the_demo(
    compass: Compass, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Breaks if somebody who forgot the arguments trains for minutes on data that are not theirs."""

    def stopped(_: object) -> None:
        raise RunError("stopped")

    for command in ("adapt", "select"):
        monkeypatch.setattr(f"compass.recipes.adapt.{command}", stopped)
        where = ("--output-dir", str(tmp_path), "--language", "el")
        first, *_ = compass(command, *where)[2].splitlines()
        assert "this is the demo: Greek commands" in first
        assert all(flag in first for flag in ("--usage", "--train", "--pool"))
        assert "demo" not in compass(command, *where, "--usage", "assist")[2]


def test_an_unexpected_error_is_one_line_with_a_file_and_an_exit_code(
    compass: Compass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback of fifty lines tells nothing to a user, and may put their data into a log."""

    def broken(*_: object, **__: object) -> None:
        raise RecursionError("private text")

    monkeypatch.setattr("compass.cli.adapt.load_config", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    arguments = ("select", "--output-dir", str(tmp_path / "run"))
    code, out, err = compass(*arguments)
    assert (code, out) == (EXIT_BUG, "")
    (report,) = tmp_path.glob("compass-error-*.txt")
    assert "An unexpected error: RecursionError." in err
    assert str(report) in err
    assert "private" not in err
    assert "Traceback" not in err
    assert "private text" in report.read_text("utf-8")
    assert report.stat().st_mode & 0o077 == 0
    code, out, err = compass(*arguments, "--debug")
    assert (code, out) == (EXIT_BUG, "")
    assert "Traceback" in err
    assert "private text" in err


def test_a_folder_that_can_not_be_made_is_one_sentence(compass: Compass, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, out, err = compass("select", "--output-dir", str(tmp_path / "file"))
    assert (code, out) == (EXIT_FAILED, "")
    assert f"{tmp_path / 'file'}: a folder is needed there, and a file is in its place" in err


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
    compass: Compass, tmp_path: Path, arguments: tuple[str, ...], said: str, dry: tuple[str, ...]
) -> None:
    """After a million rows were embedded it would be told that a model's name has a typo."""
    where = ("--output-dir", str(tmp_path / "run"), "--cache-dir", str(tmp_path / "cache"))
    code, out, err = compass("adapt", *where, *arguments, *dry)
    assert code in (EXIT_FAILED, EXIT_BAD_INPUT)
    assert not out
    assert said in err
    assert not (tmp_path / "run").exists()


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
    compass: Compass,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    """A folder `watch` would look as if something were watched."""
    (tmp_path / "logs.jsonl").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    got, out, err = compass("watch", *arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["logs.jsonl"]


def test_the_report_of_no_run_is_refused(compass: Compass, tmp_path: Path) -> None:
    code, _, err = compass("report", str(tmp_path))
    assert code == 1
    assert "not a run folder" in err


def test_ctrl_c_says_that_the_same_command_goes_on(
    compass: Compass, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody who stops a long run must learn that nothing is lost, and scripts need the usual exit code."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compass.recipes.adapt.adapt", interrupted)
    code, out, err = compass("adapt", "--output-dir", str(tmp_path))
    assert (code, out) == (130, "")
    assert "The same command resumes" in err
