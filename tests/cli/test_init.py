"""`compass init`: from answers or flags to a file that the loader reads, with the sources checked on the way."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pytest

from commands import Compass
from compass.config import AdaptConfig, load_project
from compass.data.example import Example
from compass.data.readers import write_jsonl


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small sources in Welsh and Greek, a pool and a model folder."""
    monkeypatch.chdir(tmp_path)
    for tag, text in (("cy", "Trowch y golau ymlaen yn y gegin"), ("el", "Άναψε το φως στην κουζίνα")):
        write_jsonl(
            tmp_path / f"usage.{tag}.jsonl", [Example(f"{tag}{i}", f"{text} {i}", "ok", tag) for i in range(12)]
        )
    write_jsonl(tmp_path / "pool.jsonl", [Example(f"p{i}", f"Mach das Licht an {i}", "ok", "de") for i in range(5)])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path


FLAGS = (
    "--usage",
    "usage.{language}.jsonl",
    "--train",
    "none",
    "--pool",
    "pool.jsonl",
    "--model-name-or-path",
    "model",
)


def test_flags_write_a_file_that_is_read_back(here: Path, compass: Compass) -> None:
    code, out, _ = compass("init", "--language", "cy,el", *FLAGS, "--train", "el=usage.el.jsonl", "--output-dir", "all")
    assert code == 0
    assert "cy: usage.cy.jsonl: 12 rows before cleaning (12 cy); columns" in out
    assert "cy: no training data" in out
    assert "pool.jsonl: 5 rows before cleaning (5 de)" in out
    assert out.splitlines()[-1] == "Next: compass adapt --config compass.yaml"
    project = load_project(AdaptConfig, here / "compass.yaml")
    assert project is not None
    cy, el = project.languages.values()
    assert (cy.data.usage, cy.data.train, el.data.train) == ("usage.{language}.jsonl", ("none",), ("usage.el.jsonl",))
    assert (cy.data.pool, cy.training.model_name_or_path, project.folder) == (("pool.jsonl",), "model", Path("all"))
    text = (here / "compass.yaml").read_text()
    assert "# Welsh" in text
    assert text.count("#") > 8


def test_a_file_that_is_there_is_not_written_over_without_a_word(here: Path, compass: Compass) -> None:
    (here / "compass.yaml").write_text("mine: 1")
    code, _, err = compass("init", "--language", "cy", *FLAGS)
    assert code == 2
    assert "compass.yaml already exists, and nothing was written" in err
    assert (here / "compass.yaml").read_text() == "mine: 1"
    assert compass("init", "--force", "--language", "cy", *FLAGS)[0] == 0


def test_questions_are_asked_again_with_a_hint(here: Path, compass: Compass, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong language, a mistyped path and a language without a source, each put right in the next answer."""
    said = ["xq", "cy, el", "usage.{langage}.jsonl", "cy=usage.cy.jsonl", "cy=usage.cy.jsonl, el=usage.el.jsonl",
            "none", "pol.jsonl", "pool.jsonl", "./modle", "model"]  # fmt: skip
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(said) + "\n"))
    code, out, _ = compass("init")
    assert code == 0
    assert "'xq'" in out
    assert "no such file" in out
    assert "usage: el has no source; add el=FILE" in out
    assert "Did you mean pool.jsonl?" in out
    assert "There is no folder" in out
    project = load_project(AdaptConfig, here / "compass.yaml")
    assert project is not None
    assert [one.data.usage for one in project.languages.values()] == ["usage.cy.jsonl", "usage.el.jsonl"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--yes",), "language: name one or more languages"),
        (("--language", "cy", "--usage", "usage.el.jsonl"), "has no row in cy: its rows are tagged el"),
        (("--language", "cy", "--usage", "usage.cu.jsonl"), "Did you mean usage.cy.jsonl?"),
        (("--language", "cy", "--usage", "a", "--usage", "b"), "all languages has a source already"),
    ],
)
def test_without_a_terminal_a_wrong_flag_ends_it(
    here: Path, compass: Compass, flags: tuple[str, ...], said: str
) -> None:
    code, _, err = compass("init", *flags)
    assert code == 2
    assert said in err
    assert not (here / "compass.yaml").exists()


@pytest.mark.parametrize("name", ["my project: #1 'ü'.yaml", "a\nb: c.yaml"])
def test_odd_paths_come_back_as_they_were(here: Path, compass: Compass, name: str) -> None:
    folder = here / 'it\'s "odd": #1, é'
    folder.mkdir()
    (here / "usage.cy.jsonl").rename(folder / "usage.jsonl")
    given = ("--language", "cy", *FLAGS[2:], "--usage", f"{folder}/usage.jsonl", "--output-dir", "ru ns: #")
    code, out, _ = compass("init", name, *given)
    assert code == 0
    if "\n" not in name:
        assert out.splitlines()[-1] == f"Next: compass adapt --config {shlex.quote(name)}"
    project = load_project(AdaptConfig, here / name)
    assert project is not None
    assert project.languages["cy"].data.usage == f"{folder}/usage.jsonl"
    assert project.folder == Path("ru ns: #")


def test_a_file_with_a_wrong_value_is_not_written(here: Path, compass: Compass) -> None:
    code, _, err = compass("init", "--language", "cy", *FLAGS, "--output-dir", "")
    assert code == 2
    assert "compass.yaml:7: output_dir must not be empty" in err
    assert "nothing was written" in err
    assert not (here / "compass.yaml").exists()


def test_the_end_of_the_answers_writes_nothing_and_says_so(
    here: Path, compass: Compass, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-D; `init` keeps nothing that another call could resume."""
    monkeypatch.setattr("sys.stdin", Terminal("cy\n"))
    code, _, err = compass("init")
    assert code == 130
    assert "Stopped. Nothing was written." in err
    assert not (here / "compass.yaml").exists()


def test_text_in_another_language_is_told(here: Path, compass: Compass) -> None:
    rows = [Example(f"e{i}", f"Please turn on the light in the kitchen, I said {i}", "ok", "cy") for i in range(12)]
    write_jsonl(here / "usage.cy.jsonl", rows)
    code, out, _ = compass("init", "--language", "cy", *FLAGS)
    assert code == 0
    assert "12 of 12 rows read as another language" in out
