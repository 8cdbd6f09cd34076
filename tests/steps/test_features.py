"""What is read for a strategy, and that it serves every strategy."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from compass.config import AdaptConfig, RunConfig, SelectionConfig
from compass.data.example import Example
from compass.errors import DataError, SelectionError
from compass.selection import Candidates, Features, get_strategy, strategy_names
from compass.selection.strategies.langrank import FEATURES
from compass.steps.features import (
    read_features,
    read_transfer_results,
    transfer_result,
    write_transfer_results,
)
from compass.steps.state import RunData
from compass.training.models import BaseModel
from tiny_model import make_tiny_model

WORDS = {"en": "turn on the light", "de": "mach das Licht an", "ga": "cas an solas air", "th": "เปิดไฟ"}


def rows(language, n, text):
    return tuple(
        Example(id=f"{language}{i}", prompt=f"{text} {i}", response=f"on {i % 3}", language=language) for i in range(n)
    )


@pytest.fixture(scope="module")
def data():
    pool = tuple(row for language, text in WORDS.items() for row in rows(language, 6, text))
    return RunData(usage=rows("cy", 5, "golau ymlaen"), train=rows("cy", 2, "golau"), pool=pool, tests={})


def refuse():
    raise AssertionError("the base model was asked for")


def read(strategy, data, folder, target="cy", config=None):
    return read_features(
        get_strategy(strategy), data, target_language=target, base=refuse, cache_dir=folder, config=config
    )


@pytest.fixture(scope="module")
def results():
    def scored(target, source):
        texts = {"target_texts": [WORDS[target]], "source_texts": [WORDS[source], "x"]}
        return transfer_result(target, source, len(source) / 7 + len(target), **texts)

    return tuple(scored(target, source) for target in WORDS for source in WORDS if source != target)


def test_only_what_is_needed_is_read(data, tmp_path):
    """Breaks if every run loads the base model or counts n-grams for nothing."""
    assert vars(read("random", data, tmp_path)) == vars(Features())
    ngrams = read("dsir", data, tmp_path).ngrams
    assert (ngrams.usage.shape[0], ngrams.pool.shape[0]) == (5, 24)
    features = read("langrank", data, tmp_path)
    assert features.typology.relatives == {"en", "de", "ga"}
    assert features.typology.distances["ga"]["genetic"] < features.typology.distances["th"]["genetic"]
    assert features.text_statistics["de"]["target_size"] == 7.0
    assert features.model_vectors is features.ngrams is None


@pytest.mark.parametrize("name", [name for name in strategy_names() if get_strategy(name).needs])
def test_each_strategy_runs_on_what_is_read_for_it(data, results, tmp_path, name):
    """Breaks if the recipe fills another field or shape than the strategy reads."""
    folder = make_tiny_model(tmp_path / "model")
    # From twelve pairs, of which those of a target are level, `langrank` learns nothing, and says so.
    more = [
        dataclasses.replace(result, target=f"{result.target}{i}", score=float(ord(result.source[0])))
        for i in range(3)
        for result in results
    ]
    write_transfer_results(tmp_path / "transfer.jsonl", more)
    picks = tmp_path / "picks.txt"
    picks.write_text("\n".join(row.id for row in data.pool))
    files = {"langrank": f":transfer_results={tmp_path / 'transfer.jsonl'}", "given": f":picks={picks}"}
    strategy = get_strategy(name + files.get(name, ""))
    features = read_features(
        strategy,
        data,
        target_language="cy",
        base=lambda: BaseModel(str(folder), str(folder), "local", ""),
        cache_dir=tmp_path,
    )
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=(n, 8)) for n in (5, 2, 24)]
    usage, current, pool = ((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in vectors)
    candidates = Candidates(
        usage=usage,
        train=current,
        pool=pool,
        usage_clusters=np.zeros(5, dtype=np.int64),
        train_clusters=np.zeros(2, dtype=np.int64),
        pool_clusters=np.arange(24) % 3,
        n_clusters=3,
        pool_languages=tuple(row.language for row in data.pool),
        pool_costs=np.ones(24, dtype=np.int64),
        target_language="cy",
    )
    candidates = dataclasses.replace(candidates, features=features)
    assert strategy.select(candidates, 8, seed=0).spent == 8


def test_transfer_results_come_back(results, tmp_path):
    """Breaks if a feature is lost on the way, or one has a name that the model does not know."""
    path = tmp_path / "transfer.jsonl"
    write_transfer_results(path, results)
    assert read_transfer_results(path) == results
    assert set(results[0].features) <= set(FEATURES)
    assert len(results[0].features) >= 12


def test_broken_transfer_results_are_named(tmp_path):
    """Breaks if a wrong line ends in a KeyError, or a missing file in an empty model."""
    path = tmp_path / "transfer.jsonl"
    path.write_text('{"target": "cy", "source": "ga", "score": 0.5, "features": {}}\n\n{"target": "cy"}\n')
    with pytest.raises(DataError, match=r"transfer\.jsonl:3 is not a result"):
        read_transfer_results(path)
    path.write_text('{"target": "cy", "source": "ga", "score": NaN, "features": {}}')
    with pytest.raises(DataError, match="the score nan is not a measurement"):
        read_transfer_results(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_transfer_results(tmp_path / "missing.jsonl")


def test_no_results_leave_the_refusal_to_the_strategy(data, tmp_path):
    """Breaks if an empty parameter is read as a file."""
    assert read("langrank", data, tmp_path).transfer_results == ()


def test_given_rows_are_found_by_their_ids(data, tmp_path, caplog):
    """Breaks if another draw's file is read, a row is taken twice, or one that cleaning left out ends the run."""
    ids = [row.id for row in data.pool]
    cut = json.dumps({"id": ids[2], "rank": 1, "prompt": "a\u2028b"}, ensure_ascii=False)
    lines = [ids[7], cut, "", ids[7], "gone", "a private prompt that somebody gave for a list of ids"]
    (tmp_path / "picks-ga-3-50.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def given(pattern):
        config = AdaptConfig(run=RunConfig(seed=3), selection=SelectionConfig(budget=50))
        return read(f"given:picks={tmp_path / pattern}", data, tmp_path, "ga", config).given.tolist()

    assert given("picks-{language}-{seed}-{budget}.jsonl") == [7, 2]
    assert "2 of 4 rows" in caplog.text
    assert "line 5: gone" in caplog.text
    (tmp_path / "broken.jsonl").write_text(f'{ids[0]}\n{{"name": 1}}\n')
    with pytest.raises(DataError, match=r"broken\.jsonl:2 is not a JSON object with an `id`"):
        given("broken.jsonl")
    (tmp_path / "other.txt").write_text("turn it on\ny\n")
    with pytest.raises(DataError, match="names 2 rows, and none of them is in the pool") as refused:
        given("other.txt")
    assert "turn it on" not in str(refused.value)
    assert "list of ids" not in caplog.text
    with pytest.raises(DataError, match="cannot be read"):
        given("none.txt")
    with pytest.raises(DataError, match="--strategy given:picks=FILE"):
        read("given", data, tmp_path)


def test_gradients_are_refused_before_any_work(data, tmp_path):
    """Breaks if hours of backward passes begin for a pool that nobody meant, or for usage that has no answers."""
    with pytest.raises(SelectionError, match=r"each of 24 pool rows.*--strategy less:max_pool=N \(now 23\)"):
        read("less:max_pool=23", data, tmp_path)
    silent = dataclasses.replace(data, usage=tuple(dataclasses.replace(row, response="") for row in data.usage))
    with pytest.raises(DataError, match="0 of 5 usage rows have a response"):
        read("less", silent, tmp_path)
