"""A strategy and its parameters in one spelling, and tolerances by role."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compass.config import CompareConfig, GateConfig, RegistryOptions, dump_config, load_config, load_options
from compass.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("nearest", "nearest"),
        ("nearest:neighbours=3", "nearest:neighbours=3"),
        (" nearest : neighbours = 3 ", "nearest:neighbours=3"),
        ("less:warmup_share=0.1,max_pool=9", "less:max_pool=9,warmup_share=0.1"),
        ("given:picks=a,b=c.txt", "given:b=c.txt,picks=a"),
        ("given:picks=a,b.txt", "given:picks=a,b.txt"),
        ("{name: nearest, neighbours: 3}", "nearest:neighbours=3"),
        ("{name: compass, class_quotas: no}", "compass:class_quotas=false"),
        ("{name: random}", "random"),
    ],
)
def test_one_spelling(tmp_path: Path, given: str, text: str) -> None:
    """The same strategy would be two cells of a comparison, or a file's mapping would be refused."""
    path = tmp_path / "run.yaml"
    path.write_text(f"strategy: {given if given.startswith('{') else repr(given)}\n", "utf-8")
    config = load_config(path)
    assert config.selection.strategy == text
    path.write_text(dump_config(config), "utf-8")
    assert load_config(path) == config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("''", "strategy must not be empty"),
        ("'nearest:'", "no parameter follows the colon"),
        ("nearest:neighbours", "name:parameter=value"),
        ("nearest:neighbours=", "name:parameter=value"),
        ("{neighbours: 3}", "needs a name"),
        ("{name: nearest, neighbours: [3]}", "strings, numbers or booleans; got neighbours: [3]"),
        ("3", "strategy must be a string; got 3"),
    ],
)
def test_what_is_no_strategy_is_refused(tmp_path: Path, given: str, said: str) -> None:
    """A slip in the parameters would be found by the selection, after the embedding."""
    path = tmp_path / "run.yaml"
    path.write_text(f"strategy: {given}\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)


def test_the_strategies_of_a_comparison(tmp_path: Path) -> None:
    """A comparison would not take what a run takes, or take one strategy twice under two spellings."""
    path = tmp_path / "compare.yaml"
    path.write_text("strategies:\n- compass\n- {name: nearest, neighbours: 5}\n- random\n", "utf-8")
    found = load_options(CompareConfig, path)
    assert found.grid.strategies == ("compass", "nearest:neighbours=5", "random")
    with pytest.raises(ConfigError, match="must not repeat a value"):
        load_options(CompareConfig, None, {"strategies": ["nearest:neighbours=5", "nearest: neighbours=5"]})


@pytest.mark.parametrize(
    ("given", "tolerance"),
    [
        (None, {"default": 0.03}),
        (0.05, {"default": 0.05}),
        ("0.05", {"default": 0.05}),
        (["0.02", "english=0.05"], {"default": 0.02, "english": 0.05}),
        ("english=0.05", {"default": 0.03, "english": 0.05}),
        ({"old-usage": 0, "english": "5e-2"}, {"default": 0.03, "old-usage": 0.0, "english": 0.05}),
    ],
)
def test_a_tolerance_for_all_and_for_a_role(tmp_path: Path, given: Any, tolerance: dict[str, float]) -> None:
    """A role would be tested against another role's tolerance."""
    options = load_options(RegistryOptions, None, {"tolerance": given})
    assert options.gate.tolerance == tolerance
    path = tmp_path / "gate.yaml"
    path.write_text(dump_config(options), "utf-8")
    assert load_options(RegistryOptions, path) == options


def test_a_role_without_its_own_tolerance_has_the_default() -> None:
    """An update that loses too much of a role would pass."""
    gate = GateConfig(tolerance={"default": 0.01, "english": 0.05})
    assert [gate.tolerance_of(role) for role in ("old-usage", "period", "english")] == [0.01, 0.01, 0.05]
    assert GateConfig(tolerance={"english": 0.05}).tolerance_of("period") == 0.03


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("welsh=0.1", "tolerance must be one of default, old-usage, period, english; got 'welsh'"),
        ({"english": -1}, "tolerance must be at least 0; got -1"),
        ("much", "tolerance must be a number; got 'much'"),
        (True, "tolerance must be a number"),
    ],
)
def test_a_wrong_tolerance_is_refused(given: Any, said: str) -> None:
    """A role with a slip would be tested against the default."""
    with pytest.raises(ConfigError) as caught:
        load_options(RegistryOptions, None, {"tolerance": given})
    assert said in str(caught.value)
