"""The embedded data set: which draw a source names, and what a draw holds."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations

import pytest

from compass.data.assist import common_setting, load_assist, parse_assist
from compass.errors import DataError


@pytest.mark.parametrize(
    ("source", "setting"),
    [
        ("assist", "skewed"),
        ("assist:skewed", "skewed"),
        ("assist:disjoint", "disjoint"),
        ("assist.jsonl", None),
        ("data/assist", None),
        ("none", None),
        ("", None),
    ],
)
def test_a_source_names_its_setting(source: str, setting: str | None) -> None:
    """A file of a similar name would be taken for the embedded data, or a setting be ignored."""
    assert parse_assist(source) == setting


@pytest.mark.parametrize("source", ["assist:", "assist:disjiont"])
def test_an_unknown_setting_is_refused_with_those_there_are(source: str) -> None:
    """A typo would give the default setting, and figures under the wrong name."""
    with pytest.raises(DataError, match=r"has no setting .*assist:skewed or assist:disjoint or assist:mixed-usage"):
        parse_assist(source)


def test_sources_of_one_run_name_one_setting() -> None:
    """Usage of one draw and training data of another would share sentences with the test."""
    assert common_setting(("assist", "assist:skewed", "pool.jsonl")) == "skewed"
    assert common_setting(("usage.jsonl", "none", "")) is None
    with pytest.raises(DataError, match="assist and assist:disjoint name different settings"):
        common_setting(("assist", "assist:disjoint", "pool.jsonl"))


@pytest.mark.parametrize("setting", ["skewed", "disjoint"])
def test_a_draw_is_what_its_setting_says(setting: str) -> None:
    """A test sentence in the training data or the pool would make every figure too good; or settings would be alike."""
    data = load_assist("cy", setting=setting)
    parts = [data.usage, data.train, data.pool, *data.tests.values()]
    for one, other in combinations(parts, 2):
        assert not {(row.language, row.prompt) for row in one} & {(row.language, row.prompt) for row in other}
    assert {row.label for row in data.usage} == {row.label for row in data.tests["cy"]} == set(data.needed)
    in_training = {name: sum(row.label == name for row in data.train) for name in (*data.needed, *data.known)}
    assert {in_training[name] for name in data.needed} == {2 if setting == "skewed" else 0}
    assert all(in_training[name] == 10 for name in data.known)
    assert all(json.loads(row.response)["intent"] == row.label for row in data.pool)
    assert load_assist("cy", setting=setting) == data


@pytest.mark.parametrize("language", ["cy", "ne", "el"])
def test_mixed_usage_asks_for_twelve_intents_alike_of_which_the_training_data_knows_six(language: str) -> None:
    """Breaks if a half of usage is larger, if a test sentence is trained on, or if a language falls short of rows."""
    data = load_assist(language, setting="mixed-usage")
    usage, test, train = (Counter(row.label for row in rows) for rows in (data.usage, data.tests[language], data.train))
    asked = {*data.needed, *data.known}
    assert len(asked) == 12
    assert usage == dict.fromkeys(asked, 6)
    assert test == dict.fromkeys(asked, 15)
    assert train == dict.fromkeys(data.needed, 2) | dict.fromkeys(data.known, 10)
    parts = (data.usage, data.train, data.pool, *data.tests.values())
    prompts = [{(row.language, row.prompt) for row in rows} for rows in parts]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == sum(map(len, parts))
