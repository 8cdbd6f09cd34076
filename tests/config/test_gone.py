"""Options of version 0.1 that are no more: refused where a user writes them, translated where a folder keeps them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from compass.config import (
    AdaptConfig,
    DataConfig,
    EncoderConfig,
    EvaluationConfig,
    RegistryOptions,
    SelectionConfig,
    TrainingConfig,
    UpdateConfig,
    all_options,
    gone_options,
    load_config,
    load_options,
    load_stored,
    recorded,
)
from compass.config.gone import GONE, translated
from compass.errors import ConfigError

OLD = json.loads(Path(__file__).with_name("options_0_1.json").read_text("utf-8"))
"""Options of version 0.1 with their defaults, all commands together."""


def test_every_option_of_version_0_1_is_known() -> None:
    """A file of version 0.1 would be refused with a guess at a typo, not with what replaces the option."""
    aliases = {option.alias for option in all_options().values() if option.alias}
    assert [name for name in OLD if name not in all_options() and name not in GONE and name not in aliases] == []
    assert {name: gone.default for name, gone in GONE.items()} == {name: OLD[name] for name in GONE}


def test_what_is_said_to_replace_an_option_is_there() -> None:
    """A user would be sent from one option that is no more to the next."""
    for gone in gone_options().values():
        assert not gone.renamed or gone.renamed in all_options()


@pytest.mark.parametrize("value", ["KEY", "''"])
def test_a_gone_option_is_refused_with_what_replaces_it(tmp_path: Path, value: str) -> None:
    """A setting that has no effect any more would pass in silence."""
    path = tmp_path / "run.yaml"
    path.write_text(f"lora_r: 8\nencoder:\n  encoder_api_key_env: {value}\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.problems == (
        f"{path}:3: the option encoder_api_key_env was removed. The key is read from the environment variable "
        "COMPASS_API_KEY.",
    )


def test_a_gone_flag_is_refused_by_its_flag() -> None:
    """The message would name no flag, and a user look for it in a file."""
    with pytest.raises(ConfigError, match="--tolerance-english: the option tolerance_english was removed"):
        load_options(RegistryOptions, None, {"tolerance_english": "0.05"})


@pytest.mark.parametrize("value", [0.03, "0.03", "3e-2"])
def test_a_gone_option_at_its_old_default_is_passed_over(caplog: pytest.LogCaptureFixture, value: object) -> None:
    """A file that a program wrote, with every option in it, would be refused though nothing changes."""
    with caplog.at_level(logging.INFO):
        assert load_options(RegistryOptions, None, {"tolerance_english": value}) == RegistryOptions()
    assert "ignored, because they have their former default: tolerance_english" in caplog.text


def test_a_folder_is_read_whatever_it_says_of_gone_options(tmp_path: Path) -> None:
    """A run of version 0.1 could not be monitored or updated any more."""
    path = tmp_path / "compass.yaml"
    path.write_text("encoder:\n  encoder_api_key_env: KEY\ntraining:\n  lora_r: 8\n", "utf-8")
    config = load_stored(path, {"seed": 3})
    assert (config.training.lora_r, config.run.seed) == (8, 3)
    with pytest.raises(ConfigError, match="encoder_api_key_env was removed"):
        load_stored(path, {"encoder_api_key_env": "KEY"})
    path.write_text("lora_rang: 8\n", "utf-8")
    with pytest.raises(ConfigError, match="did you mean lora_r"):
        load_stored(path)


def test_the_options_of_a_run_of_version_0_1_are_read(tmp_path: Path) -> None:
    """The copy of all options that each run of version 0.1 keeps would not be read."""
    path = tmp_path / "compass.yaml"
    # No run of one language had `languages`, which is the grid's; today a file that names none is refused.
    lines = [f"{name}: {json.dumps(value)}" for name, value in OLD.items() if name != "languages"]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    today = AdaptConfig()
    evaluation = replace(today.evaluation, per_device_eval_batch_size=32)
    training = replace(today.training, num_train_epochs=2.0)
    as_it_was = replace(today, evaluation=evaluation, training=training)
    assert load_stored(path) == load_config(path) == as_it_was


def test_parameters_are_translated_for_the_strategy_that_reads_them() -> None:
    """An update of a run with `neighbours: 9` would pick by three, or `random` would be refused for a parameter."""
    gone = {"neighbours": 9, "answer_quotas": False, "less_max_pool": 5000}
    assert translated({"strategy": "nearest"}, gone) == {"strategy": "nearest:neighbours=9"}
    assert translated({"strategy": "compass"}, gone) == {"strategy": "compass:class_quotas=false"}
    assert translated({"strategy": "less"}, gone) == {"strategy": "less"}
    assert translated({"strategies": ["compass", "random"]}, gone) == {
        "strategies": ["compass:class_quotas=false", "random"]
    }


def test_sources_and_tolerances_are_translated() -> None:
    """The embedded data would be another, or a tolerance that was set would be lost."""
    values = {"usage": "assist", "pool": ["assist", "more.jsonl"], "test": ""}
    gone = {"assist_setting": "disjoint", "tolerance_old_usage": 0.03, "tolerance_english": 0.1}
    assert translated(values, gone) == {
        "usage": "assist:disjoint",
        "pool": ["assist:disjoint", "more.jsonl"],
        "test": "",
        "tolerance": {"english": 0.1},
    }
    assert translated(values, {"assist_setting": "skewed"}) == values


def test_renamed_options(tmp_path: Path) -> None:
    """An old name would be refused without the new one, or a folder that has it would not be read."""
    path = tmp_path / "compass.yaml"
    path.write_text("training:\n  answer_balance: 2\n", "utf-8")
    assert load_stored(path).training.class_balance == 2
    with pytest.raises(ConfigError, match="the option answer_balance was renamed to class_balance"):
        load_config(path)


def test_records_have_the_names_of_version_0_1(tmp_path: Path) -> None:
    """What version 0.1 finished would be done again, an hour of work, for a new name."""
    data = recorded(DataConfig(columns={"train.prompt": "q", "prompt": "p"}))
    assert (data["current"], data["columns"]) == ("assist", {"current.prompt": "q", "prompt": "p"})
    assert recorded(TrainingConfig(class_balance=2))["answer_balance"] == 2
    for section in (
        DataConfig(),
        EncoderConfig(),
        SelectionConfig(),
        # Its default is another training today.
        TrainingConfig(num_train_epochs=2.0),
        EvaluationConfig(),
        UpdateConfig(),
    ):
        assert {
            name: list(value) if isinstance(value, tuple) else value for name, value in recorded(section).items()
        } == {name: OLD[name] for name in recorded(section)}


def test_a_batch_size_is_no_part_of_what_was_measured() -> None:
    """Who lowers it for want of memory would measure the base model again."""
    assert recorded(EvaluationConfig(per_device_eval_batch_size=4)) == recorded(EvaluationConfig())
