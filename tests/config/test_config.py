"""Options from files and flags."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compass.config import (
    AUTO,
    AdaptConfig,
    CompareConfig,
    DataConfig,
    GridConfig,
    MonitorOptions,
    Option,
    RegistryOptions,
    RunConfig,
    SelectionConfig,
    TaskOptions,
    TrainingConfig,
    UpdateOptions,
    WatchOptions,
    advice,
    all_options,
    changed_flags,
    dump_config,
    fields_of,
    load_config,
    load_options,
    load_stored,
    named_options,
    read_stored,
    validate,
)
from compass.errors import ConfigError

OPTIONS = {option.name: option for option in fields_of(AdaptConfig)}


def load(tmp_path: Path, text: str, **overrides: object) -> AdaptConfig:
    """Load options from the text of a file."""
    path = tmp_path / "run.yaml"
    path.write_text(text, "utf-8")
    return load_config(path, overrides)


def test_flags_say_what_was_changed() -> None:
    """A command that is written down for others would give another configuration."""
    before = AdaptConfig()
    after = replace(
        before,
        data=DataConfig(pool=("a", "b"), columns={"prompt": "q"}, decontaminate=False),
        training=TrainingConfig(lora_r=8, use_dora=True),
        run=RunConfig(output_dir="x"),
    )
    assert changed_flags(after, before, leaving_out=("output_dir",)) == [
        "--pool", "a", "--pool", "b", "--columns", "prompt=q", "--no-decontaminate", "--lora-r", "8", "--use-dora",
    ]  # fmt: skip
    assert changed_flags(after, after) == []


def problems(tmp_path: Path, text: str, **overrides: object) -> tuple[str, ...]:
    """Return the problems that loading reports, without the folder's path."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **overrides)
    return tuple(problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems)


def test_defaults() -> None:
    """No file and no flag would not give the defaults, or the defaults would break a rule of their own."""
    assert load_config(None, {}) == load_config() == AdaptConfig()
    validate(AdaptConfig())
    assert advice(AdaptConfig()) == ()


def test_names_are_unique_and_documented() -> None:
    """A flat key or a flag would be ambiguous, or an option would have no help."""
    total = sum(len(fields(type(getattr(AdaptConfig(), section.name)))) for section in fields(AdaptConfig))
    assert len(OPTIONS) == len(fields_of(AdaptConfig)) == total
    assert all(option.help.strip() for option in OPTIONS.values())
    assert OPTIONS["lora_r"] == Option("lora_r", "training", int, 16, "Rank of the adapter.", low=1, basic=True)
    assert OPTIONS["lora_r"].flag == "--lora-r"
    assert {option.type for option in OPTIONS.values()} == {str, int, float, bool, tuple[str, ...], dict[str, str]}


def test_sections_and_flat_keys_are_the_same(tmp_path: Path) -> None:
    """One of the two spellings of a file would lose options; `encoder` names a section and an option."""
    sectioned = load(tmp_path, "encoder:\n  encoder: e5\ntraining:\n  lora_r: 8\nrun:\nspace: null\n")
    flat = load(tmp_path, "encoder: e5\nlora_r: 8\n")
    assert sectioned == flat
    assert (flat.encoder.encoder, flat.training.lora_r) == ("e5", 8)
    assert load(tmp_path, "# nothing\n") == AdaptConfig()


def test_options_of_other_commands_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One file could not serve all commands, or what is not used would be taken for used."""
    with caplog.at_level(logging.INFO):
        config = load(tmp_path, "lora_r: 8\nwatch:\n  quiet_hours: 1\nbudgets: [1, 2]\n")
    assert config == AdaptConfig(training=TrainingConfig(lora_r=8))
    assert "run.yaml: options of other commands are ignored: quiet_hours, budgets" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        watch = load_options(WatchOptions, tmp_path / "run.yaml")
    assert watch == replace(WatchOptions(), watch=replace(WatchOptions().watch, quiet_hours=1.0))
    assert "options of other commands are ignored: lora_r, budgets" in caplog.text


def test_no_two_commands_have_an_option_of_one_name() -> None:
    """A file that serves both would mean two things by one line."""
    for kind in (CompareConfig, UpdateOptions, MonitorOptions, RegistryOptions, WatchOptions, TaskOptions):
        own = fields_of(kind)
        assert len({option.name for option in own}) == len(own)
        assert all(all_options()[option.name] == option for option in own)


def test_an_alias_is_the_option_itself(tmp_path: Path) -> None:
    """Scripts with `--current` would be refused, or a file that has both names would be read by chance."""
    assert load(tmp_path, "train: a.jsonl\n", current="b.jsonl").data.train == ("b.jsonl",)
    assert named_options(None, {"current": "b"}, AdaptConfig, {"train"}) == {"train": "b"}
    assert problems(tmp_path, "current: a\ndata:\n  train: b\n") == (
        "run.yaml:3: train is given twice, first in run.yaml:1; remove one of them",
    )


def test_overrides_win(tmp_path: Path) -> None:
    """A flag would not override the file, or one that was not given would reset it."""
    config = load(tmp_path, "lora_r: 8\nseed: 3\n", lora_r=4, seed=None)
    assert (config.training.lora_r, config.run.seed) == (4, 3)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("learning_rate: 5e-4", "learning_rate", 5e-4),
        ("num_train_epochs: 3", "num_train_epochs", 3.0),
        ("lora_alpha: 1e3", "lora_alpha", None),
        ("budget: auto", "budget", AUTO),
        ("budget: 100.0", "budget", 100),
        ("budget: '100'", "budget", 100),
        ("packing: off", "packing", "off"),
        ("packing: on", "packing", "on"),
        ("streaming: yes", "streaming", True),
        ("streaming: 'true'", "streaming", True),
        ("pool: a.jsonl", "pool", ("a.jsonl",)),
        ("pool: [a.jsonl, b.parquet]", "pool", ("a.jsonl", "b.parquet")),
        ("columns: {prompt: q}", "columns", {"prompt": "q"}),
        ("columns: [prompt=q, response=a=b]", "columns", {"prompt": "q", "response": "a=b"}),
        ("columns: prompt=q, response=a", "columns", {"prompt": "q", "response": "a"}),
        ("language: 'no'", "language", "no"),
        ("train: none", "train", ("none",)),
        ("current: none", "train", ("none",)),
        ("columns: {current.prompt: q}", "columns", {"train.prompt": "q"}),
        ("columns: prompt=p, current.prompt=q", "columns", {"prompt": "p", "train.prompt": "q"}),
        ("columns: [current.prompt=q]", "columns", {"train.prompt": "q"}),
    ],
)
def test_coercion(tmp_path: Path, line: str, name: str, value: Any) -> None:
    """What YAML makes of a natural spelling would be refused, or would reach the library in the wrong type."""
    if value is None:
        assert "must be a whole number; got '1e3'" in problems(tmp_path, line)[0]
        return
    got = getattr(getattr(load(tmp_path, line), OPTIONS[name].section), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lora_r: 0", "run.yaml:1: lora_r must be at least 1; got 0"),
        ("lora_r: true", "run.yaml:1: lora_r must be a whole number; got True"),
        ("lora_r: 8.5", "run.yaml:1: lora_r must be a whole number; got 8.5"),
        ("lora_dropout: 1.5", "run.yaml:1: lora_dropout must be at most 1; got 1.5"),
        ("learning_rate: .nan", "run.yaml:1: learning_rate must be a number; got nan"),
        ("learning_rate: 1e999", "run.yaml:1: learning_rate must be a number; got '1e999'"),
        ("dtype: float16", "run.yaml:1: dtype must be one of auto, float32, bfloat16; got 'float16'"),
        ("streaming: maybe", "run.yaml:1: streaming must be true or false; got 'maybe'"),
        ("pool: {a: b}", "run.yaml:1: pool must be a list of strings; got {'a': 'b'}"),
        (
            "columns: [prompt]",
            "run.yaml:1: columns must be written as ours=theirs, as in prompt=question; got ['prompt']",
        ),
        ("columns: 3", "run.yaml:1: columns must map names to names, as in prompt: question; got 3"),
        ("model_revision: 1.0", "run.yaml:1: model_revision must be a string; got 1.0. Put it in quotes"),
        ("usage:", "run.yaml:1: usage has no value; write one, or remove the line to use the default, 'assist'"),
        ("lora-r: 8", "run.yaml:1: there is no option 'lora-r'; did you mean lora_r?"),
        ("training: {lora_rank: 8}", "run.yaml:1: there is no option 'lora_rank'; did you mean lora_r?"),
        ("zzz: 8", "run.yaml:1: there is no option 'zzz'; compass adapt --help-all shows all options"),
        ("data:\n  seed: 1", "run.yaml:2: seed belongs to the section run, not data; move it there"),
        ("seed: 1\nrun: {seed: 2}", "run.yaml:2: seed is given twice, first in run.yaml:1; remove one of them"),
        ("output_dir: ''", "run.yaml:1: output_dir must not be empty; its default is 'runs/cy'"),
        ("pool: []", "run.yaml:1: pool must not be empty; its default is ('assist',)"),
        (
            "[a, b]: 1",
            "run.yaml:1: there is no option '(a list or mapping)'; compass adapt --help-all shows all options",
        ),
    ],
)
def test_messages(tmp_path: Path, line: str, message: str) -> None:
    """A wrong option would pass, or its message would not say file, line, rule, value and next step."""
    assert problems(tmp_path, line) == (message,)


@pytest.mark.parametrize("line", ["language: no", "language: No", "data: {language: off}"])
def test_norway(tmp_path: Path, line: str) -> None:
    """YAML's `no` is false: Norwegian would be adapted as the language "False"."""
    (problem,) = problems(tmp_path, line)
    assert 'language: "no", in quotes' in problem


def test_norway_in_a_list(tmp_path: Path) -> None:
    """The same trap in a list of texts would pass as "False"."""
    assert "put the value in quotes" in problems(tmp_path, "retention_tests: [a.jsonl, no]")[0]


def test_a_budget_may_be_auto_and_is_written_so(tmp_path: Path) -> None:
    """A stored run would say -1, which no one could have asked for, and would be refused when it is read back."""
    config = load(tmp_path, "budget: auto\nlanguage_cap: 0.001\n")
    validate(config)
    assert "\n  budget: auto\n" in dump_config(config)
    assert changed_flags(config, AdaptConfig()) == ["--budget", "auto", "--language-cap", "0.001"]
    assert problems(tmp_path, "budget: -1") == ("run.yaml:1: budget must be at least 1; got -1",)
    assert problems(tmp_path, "lora_r: auto") == ("run.yaml:1: lora_r must be a whole number; got 'auto'",)
    assert problems(tmp_path, "budget: many") == ("run.yaml:1: budget must be a whole number or auto; got 'many'",)
    path = tmp_path / "grid.yaml"
    path.write_text("budgets: [240, auto]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="budgets: a comparison gives all cells of a budget the same amount"):
        load_options(CompareConfig, path)


def test_all_problems_at_once(tmp_path: Path) -> None:
    """A user would fix one line, run again, and meet the next."""
    found = problems(tmp_path, "lora_r: 0\nlanguage: no\nsede: 1\nn_clusters: 1\n", budgt=5, budget=0)
    assert len(found) == 6
    assert found[:2] == (
        "run.yaml:3: there is no option 'sede'; did you mean seed?",
        "an override: there is no option 'budgt'; did you mean budget?",
    )
    assert "--budget: budget must be at least 1; got 0" in found


@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("lora_r: 128", "lora_r must not exceed max_serving_rank"),
        (
            "lora_r: 32\naveraged_trainings: 3",
            "lora_r times averaged_trainings, the rank of the averaged adapter, must not exceed",
        ),
        ("train: [none, b.jsonl]", "train: 'none' means no training data; leave it out beside 'b.jsonl'"),
        ("use_dora: true\naveraged_trainings: 2", "averaged_trainings: DoRA adapters can't be averaged"),
        ("columns: {pol.prompt: q}", "columns: 'pol' is not a set of rows; write one of usage, train"),
        ("num_train_epochs: 0", "num_train_epochs or max_steps must be above 0"),
        ("encoder: http://localhost:1/v1/embeddings", "encoder_model must not be empty; name the model"),
        ("n_clusters: 1", "n_clusters must be 0"),
        ("{n_clusters: 101, fit_sample: 100}", "n_clusters must not exceed fit_sample"),
        ("language_cap: 0", "language_cap must be above 0"),
        ("{budget: 3, language_cap: 0.25}", "language_cap times budget"),
        ("usage: none", "usage must be a source"),
        ("language: Cymraeg iaith", "language must be a BCP-47 tag"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, line: str, start: str) -> None:
    """The conflict would be found out after an hour, in training or at deployment."""
    (problem,) = problems(tmp_path, line)
    assert problem.startswith(start)


def test_conflicts_of_wrong_options_are_not_reported(tmp_path: Path) -> None:
    """One mistyped value would be reported twice, once by a rule that saw the default in its place."""
    assert len(problems(tmp_path, "lora_r: 100000\nmax_serving_rank: many\n")) == 1


@pytest.mark.parametrize(
    ("config", "start"),
    [
        (AdaptConfig(training=TrainingConfig(use_dora=True)), "use_dora"),
        (AdaptConfig(training=TrainingConfig(packing="on")), "packing"),
        (AdaptConfig(training=TrainingConfig(load_in_4bit=True)), "load_in_4bit"),
        (AdaptConfig(selection=SelectionConfig(budget_unit="tokens")), "budget"),
    ],
)
def test_advice(config: AdaptConfig, start: str) -> None:
    """A choice that surprises later would pass in silence."""
    (line,) = advice(config)
    assert line.startswith(start)


def test_advice_of_a_comparison_is_about_its_own_budgets() -> None:
    """`budget` is not used there: a warning about its default would stand above every grid in tokens."""
    config = CompareConfig(
        AdaptConfig(selection=SelectionConfig(budget_unit="tokens")), GridConfig(budgets=(4000, 1000))
    )
    assert advice(config) == ()
    (line,) = advice(replace(config, grid=GridConfig(budgets=(4000, 100))))
    assert line.startswith("budget: 100 tokens")


def test_a_comparison_says_which_strategy_and_budget_it_does_not_use() -> None:
    """One strategy in the file of a comparison would be taken for the one that is compared."""
    grid = GridConfig(strategies=("random", "tsds"), budgets=(120, 480))
    both = CompareConfig(AdaptConfig(selection=SelectionConfig(strategy="nearest", budget=60)), grid)
    assert advice(both) == (
        "strategy: nearest is ignored; the comparison uses strategies: random, tsds",
        "budget: 60 is ignored; the comparison uses budgets: 120, 480",
    )
    same = AdaptConfig(selection=SelectionConfig(strategy="tsds", budget=480))
    assert advice(replace(both, adapt=same)) == ()


def test_advice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Advice would reach nobody."""
    with caplog.at_level(logging.WARNING):
        load_config(None, {"use_dora": True})
    assert "vLLM does not serve DoRA" in caplog.text


def test_validate_python_configs() -> None:
    """A configuration built in Python would skip the checks."""
    config = replace(AdaptConfig(), run=RunConfig(seed=-1), data=DataConfig(language=False))  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        validate(config)
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError, match="max_serving_rank"):
        validate(AdaptConfig(training=TrainingConfig(lora_r=65)))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"a: [", "run.yaml:1: not valid YAML"),
        (b"lora_r: 8\npool: [a\nseed: 1\n", r"run.yaml:3: not valid YAML: expected ',' .*from line 2 on"),
        (b"- a\n- b\n", "got a list"),
        (b"lora_r: 1\n---\nlora_r: 2\n", "run.yaml:2: not valid YAML"),
        (b"language: \xff\n", "not UTF-8"),
        (b"model_revision: 2024-99-99\n", "not valid YAML"),
        (b"\nmodel_revision: c\x01y\n", "run.yaml:2: not valid YAML"),
        (b"model_revision: !!timestamp soon\n", "not valid YAML"),
        (b"model_revision: !!int ''\n", "not valid YAML"),
        (b"pool: &a [*a]\n", "more than 100,000 parts"),
        (b"model_revision: !!python/object/apply:os.system ['x']\n", "not valid YAML"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, match: str) -> None:
    """A file that is no options file would end in a traceback, or run code."""
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=match):
        load_config(path, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A mistyped path would mean the defaults."""
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file"):
        load_config(tmp_path / "none.yaml", {})


def test_dump_is_stable_and_documented() -> None:
    """Two runs of the same options would hash apart, or the written file would not explain itself."""
    text = dump_config(AdaptConfig())
    assert text == dump_config(load_config(None, {}))
    assert "\ntraining:\n" in text
    assert "  # Rank of the adapter.\n  lora_r: 16\n" in text
    assert list(yaml.safe_load(text)) == [section.name for section in fields(AdaptConfig)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the files that hypothesis writes."""
    return tmp_path_factory.mktemp("dump")


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(["no", "off", "1.0", "5e-4", "~", "a: b"])


@settings(deadline=None, max_examples=50)
@given(
    usage=TEXTS.filter(lambda text: text not in ("", "none")),
    pool=st.lists(TEXTS, min_size=1, max_size=3),
    columns=st.dictionaries(TEXTS.filter(lambda text: "." not in text), TEXTS, max_size=3),
    learning_rate=st.floats(0, 1e300),
)
def test_dump_reads_back(
    folder: Path,
    usage: str,
    pool: list[str],
    columns: dict[str, str],
    learning_rate: float,
) -> None:
    """The run folder's copy of the options would not repeat the run."""
    config = AdaptConfig(
        data=DataConfig(usage=usage, pool=tuple(pool), columns=columns, language="no"),
        training=TrainingConfig(learning_rate=learning_rate, packing="off"),
    )
    path = folder / "compass.yaml"
    path.write_text(dump_config(config), "utf-8", newline="")
    assert load_config(path, {}) == config


def test_named_options_are_those_of_file_and_flags(tmp_path: Path) -> None:
    """What a file says of an update would be read, checked, and left out."""
    path = tmp_path / "watch.yaml"
    path.write_text("budget: 120\nmax_steps: 40\nquiet_hours: 1\n", encoding="utf-8")
    names = {option.name for option in fields_of(AdaptConfig)}
    assert named_options(path, {"max_steps": 9, "lora_r": None}, WatchOptions, names) == {"budget": 120, "max_steps": 9}


def test_a_run_folder_cannot_trust_send_or_spend(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder from somebody else would run its model's code, send prompts to its author, or report to a tracker."""
    file = tmp_path / "compass.yaml"
    file.write_text("trust_remote_code: true\nreport_to: wandb\nlora_r: 8\n", "utf-8")
    config = load_stored(file)
    assert (config.training.trust_remote_code, config.training.report_to, config.training.lora_r) == (False, "none", 8)
    assert "trust_remote_code=True, report_to=wandb is not taken from a run folder" in caplog.text
    granted = load_stored(file, {"trust_remote_code": True})
    assert (granted.training.trust_remote_code, granted.training.report_to) == (True, "none")
    assert read_stored(file).training.report_to == "wandb"


def test_an_endpoint_of_a_run_folder_is_used_only_after_a_person_allows_it(tmp_path: Path) -> None:
    """Prompts of users, and the key of the environment, would go to an address of the folder's choosing."""
    file = tmp_path / "compass.yaml"
    file.write_text("encoder: https://one.example/v1\nencoder_model: m\n", "utf-8")
    with pytest.raises(ConfigError, match=r"give --allow-endpoint https://one\.example/v1"):
        load_stored(file)
    with pytest.raises(ConfigError, match="is the endpoint"):
        load_stored(file, allow_endpoint="https://other.example/v1")
    assert load_stored(file, allow_endpoint="https://one.example/v1").encoder.is_endpoint
    assert not load_stored(file, {"encoder": "embedded"}).encoder.is_endpoint


def test_every_option_that_trusts_or_sends_is_marked() -> None:
    """A new option of this kind that is not marked can be set by a folder from somebody else."""
    marked = {option.name for option in fields_of(AdaptConfig) if option.from_operator}
    assert marked == {"trust_remote_code", "report_to"}
