"""The file of a project: what each language gets of it, and errors that name the line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compass.config import (
    AdaptConfig,
    CompareConfig,
    ServeOptions,
    UpdateOptions,
    WatchOptions,
    load_config,
    load_options,
    load_project,
)
from compass.data.languages import normalize_tag
from compass.errors import ConfigError

COMMON = "usage: logs/{language}.jsonl\nbudget: 50\noutput_dir: runs/home\nregistry_dir: shelf\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "compass.yaml"
    path.write_text(
        COMMON + "languages:\n  - cy\n  - language: el\n    usage: greek.jsonl\n    lora_r: 8\n  - zh_Hans\n"
    )
    return path


def problems(path: Path, text: str, normal: Callable[[str], str] = str, **more: object) -> tuple[str, ...]:
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_project(AdaptConfig, path, more, normal=normal)
    return tuple(problem.replace(f"{path}:", "line ") for problem in raised.value.problems)


def test_a_language_has_the_common_options_under_its_own_and_a_folder_of_its_tag(file: Path) -> None:
    project = load_project(AdaptConfig, file, {"seed": 3})
    assert project is not None
    assert list(project.languages) == ["cy", "el", "zh-Hans"]
    assert project.folder == Path("runs/home")
    cy, el, zh = project.languages.values()
    assert (cy.data.usage, el.data.usage) == ("logs/{language}.jsonl", "greek.jsonl")
    assert (cy.training.lora_r, el.training.lora_r) == (16, 8)
    assert [one.run.output_dir for one in (cy, el, zh)] == ["runs/home/cy", "runs/home/el", "runs/home/zh-Hans"]
    assert {(one.run.seed, one.selection.budget) for one in (cy, el, zh)} == {(3, 50)}
    assert zh.data.language == "zh-Hans"


@pytest.mark.parametrize("languages", ["languages:", "languages: []", "languages: {}", "languages: ''"])
def test_no_language_is_no_run_of_one(tmp_path: Path, languages: str) -> None:
    """A run in the default language would begin, in the folder of all."""
    path = tmp_path / "compass.yaml"
    path.write_text(f"usage: a.jsonl\n{languages}\n")
    for load in (load_project, load_options):
        with pytest.raises(ConfigError, match=r"compass\.yaml:2: languages names none"):
            load(AdaptConfig, path)


@pytest.mark.parametrize(
    "languages",
    [
        "languages: [cy, el]",
        "languages:\n- cy\n- el",
        "languages:\n  cy:\n  el: {}",
        "languages:\n- language: cy\n- el",
    ],
)
def test_languages_are_a_list_or_a_mapping(tmp_path: Path, languages: str) -> None:
    path = tmp_path / "compass.yaml"
    path.write_text(languages)
    project = load_project(AdaptConfig, path)
    assert project is not None
    assert (list(project.languages), project.folder) == (["cy", "el"], Path("runs"))


def test_norwegian_needs_no_quotes(tmp_path: Path) -> None:
    """YAML reads an unquoted `no` as a truth value."""
    (tmp_path / "compass.yaml").write_text("languages: [no, cy]")
    project = load_project(AdaptConfig, tmp_path / "compass.yaml")
    assert project is not None
    assert list(project.languages) == ["no", "cy"]


def test_flags_come_before_the_file_and_the_folder_stays_one_of_the_project(file: Path) -> None:
    config = load_config(file, {"language": "EL", "output_dir": "elsewhere", "lora_r": 4})
    assert (config.data.usage, config.training.lora_r, config.run.output_dir) == ("greek.jsonl", 4, "elsewhere/el")
    chosen = load_project(AdaptConfig, file, {}, only=["zh_hans"])
    assert chosen is not None
    assert (list(chosen.languages), len(chosen.origins)) == (["zh-Hans"], 3)


def test_a_command_for_one_language_asks_which_one(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"several languages; say which one with --language \(cy, el, zh-Hans\)"):
        load_config(file)
    with pytest.raises(ConfigError, match="has no language 'fr'; it has cy, el, zh-Hans"):
        load_config(file, {"language": "fr"})
    with pytest.raises(ConfigError, match="has no language 'fr'"):
        load_project(AdaptConfig, file, only=["cy", "fr"])


def test_commands_without_a_language_take_what_is_common(file: Path) -> None:
    assert load_options(ServeOptions, file).registry.registry_dir == "shelf"
    assert load_options(WatchOptions, file, language="el").training.learning_rate == 5e-4
    file.write_text(COMMON + "languages: {cy: {prompts: own.jsonl}}\nmax_steps: 3")
    assert load_options(WatchOptions, file, language="cy").watch.prompts == "own.jsonl"
    assert load_options(WatchOptions, file).watch.prompts == ""


def test_a_comparison_takes_the_tags_and_no_options_of_a_language(file: Path) -> None:
    with pytest.raises(ConfigError, match="a comparison takes the same options for all languages; write usage above"):
        load_options(CompareConfig, file)
    file.write_text("languages: [cy, el]\nlanguage: cy")
    assert load_options(CompareConfig, file).grid.languages == ("cy", "el")
    file.write_text("languages:\n  cy:\n  el:\n")
    assert load_options(CompareConfig, file).grid.languages == ("cy", "el")


def test_a_file_without_languages_is_no_project(tmp_path: Path) -> None:
    path = tmp_path / "compass.yaml"
    for text in ("language: cy", ""):
        path.write_text(text)
        assert load_project(AdaptConfig, path) is None
    assert load_project(AdaptConfig, None) is None


def test_every_error_names_its_line_and_what_is_right(tmp_path: Path) -> None:
    found = problems(
        tmp_path / "compass.yaml",
        "language: cy\nbudgit: 5\nlanguages:\n  cy:\n    usge: a\n  CY:\n  x y:\n  de: 3\n  el:\n    output_dir: a\n"
        "    registry_dir: b\n    lora_r: eight\n  fr:\n    data:\n      usage: f\n      lora_r: 3\n"
        "    draw_window: 9\n",
        seed="x",
    )
    text = "\n".join(found)
    for said in (
        "line 1: a file has either `language` or `languages`; remove this line",
        "line 2: there is no option 'budgit'; did you mean budget?",
        "line 5: there is no option 'usge'; did you mean usage?",
        "line 6: the language CY is given twice, first in",
        "line 7: a language is a BCP-47 tag such as cy, zh-Hans or pt-BR; got 'x y'",
        "line 8: write the options of de as `name: value` lines under it",
        "line 10: output_dir is the same for all languages of a project; write it above `languages`, and each language",
        "line 11: registry_dir is the same for all languages of a project; write it above `languages`",
        "line 12: lora_r must be a whole number; got 'eight'",
        "line 16: lora_r belongs to the section training, not data; move it there",
        "line 17: the option draw_window was removed",
        "--seed: seed must be a whole number; got 'x'",
    ):
        assert said in text
    assert len(found) == len(set(found)) == 12


def test_a_tag_that_is_none_and_one_language_by_two_names_are_told_with_the_rest(tmp_path: Path) -> None:
    """One language would be trained twice; a bad tag was told alone, without its line, once all else was mended."""
    found = problems(
        tmp_path / "compass.yaml", "budgit: 5\nlanguages:\n  CY:\n  xx-qq:\n  cym_Latn:\n", normal=normalize_tag
    )
    assert [problem.partition(": ")[0] for problem in found] == ["line 4", "line 5", "line 1"]
    assert "'xx-qq' is not a language tag" in found[0]
    assert "cym-Latn is the same language as CY in line 3; remove one" in found[1]


@pytest.mark.parametrize("entry", ["- usage: a", "- [cy]", "- language: [cy]"])
def test_an_entry_without_a_tag_is_told(tmp_path: Path, entry: str) -> None:
    (said,) = problems(tmp_path / "compass.yaml", f"languages:\n- el\n{entry}\n")
    assert said == "line 3: a language has no tag; write `- language: cy`, and its options under it"


def test_what_a_command_reads_besides_is_not_told_as_ignored(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`compass update` takes update_usage from the file, and said that it ignores it."""
    file.write_text(f"update_usage: new.jsonl\nport: 1\n{file.read_text()}")
    with caplog.at_level("INFO"):
        load_project(UpdateOptions, file, also_read=WatchOptions)
        watched = load_project(WatchOptions, file, log=False)
    assert watched is not None
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: options of other commands are ignored: port"
    ]
