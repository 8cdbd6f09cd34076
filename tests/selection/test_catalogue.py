"""Strategies by name and parameters."""

from __future__ import annotations

import dataclasses
import re

import pytest

from compass.errors import ConfigError
from compass.selection import Caps, describe_strategies, get_strategy, strategy_names
from compass.selection.strategies.given import Given
from compass.selection.strategies.less import Less
from compass.selection.strategies.nearest import Nearest


def test_parameters_are_read_as_their_types():
    """Breaks if a value stays a text, or if a path with commas, colons or equals signs is cut."""
    assert get_strategy("nearest:neighbours=5") == Nearest(neighbours=5)
    assert get_strategy("less:warmup_share=0.1,max_pool=70") == Less(warmup_share=0.1, max_pool=70)
    assert get_strategy("compass:class_quotas=False").class_quotas is False
    path = "s3:/a,b/x=1,2/{language}-{seed}.jsonl"
    assert get_strategy(f"given:picks={path}") == Given(picks=path)
    assert get_strategy("nearest") == get_strategy("nearest:") == Nearest()


def test_caps_reach_the_strategies_that_pick_under_them():
    """Breaks if a run's caps are ignored, or if a strategy without caps is told apart by them."""
    caps = Caps(language_cap=0.5, duplicate_similarity=0.9)
    capped = {name for name in strategy_names() if dataclasses.asdict(get_strategy(name, caps)).get("caps")}
    assert capped == {"compass", "langsim", "langrank"}
    assert all(get_strategy(name, caps).caps == caps for name in capped)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compas", "strategy: 'compas' is unknown. Did you mean 'compass'?"),
        ("only-", "strategy: 'only-' is unknown."),
        (
            "nearest:neighbors=5",
            "'nearest' has no parameter 'neighbors'. Did you mean 'neighbours'? It has neighbours.",
        ),
        ("random:seed=5", "'random' has no parameter 'seed'. It has none."),
        ("compass:caps=1", "'compass' has no parameter 'caps'."),
        ("english:tag=de", "'english' has no parameter 'tag'."),
        ("nearest:neighbours", "'nearest' takes a whole number for neighbours; got ''."),
        ("nearest:neighbours=2.5", "'nearest' takes a whole number for neighbours; got '2.5'."),
        ("nearest:neighbours=0", "'nearest' takes at least 1 for neighbours; got '0'."),
        ("less:warmup_share=nan", "'less' takes 0.0 to 1.0 for warmup_share; got 'nan'."),
        ("compass:class_quotas=maybe", "'compass' takes true or false for class_quotas; got 'maybe'."),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    """Breaks if a typo ends in a KeyError, or passes in silence."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        get_strategy(text)


def test_descriptions_name_every_parameter():
    """Breaks if a strategy or a parameter is left out of what people read."""
    found = {own.name: own for own in describe_strategies()}
    assert tuple(found) == strategy_names()
    for name, own in found.items():
        assert own.picks.endswith(".")
        fields = {f.name for f in dataclasses.fields(get_strategy(name))} - {"caps", "tag", "alias"}
        assert {parameter.name for parameter in own.parameters} == fields
    assert str(found["nearest"].parameters[0]) == "neighbours=3: Nearest usage rows that score a pool row."
    assert str(found["compass"].parameters[0]).startswith("class_quotas=true: ")
    assert str(found["given"].parameters[0]).startswith("picks: File of rows")
    assert found["langrank"].needs == ("a file of transfer results", "urielplus")
