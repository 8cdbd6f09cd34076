"""DSIR against the authors' package on the same texts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from compass.data.text_features import ngram_counts
from compass.selection import Features, Ngrams, get_strategy
from compass.selection.strategies.dsir import gumbel, log_importance

USAGE = ["Turn on the light, please!", "Dim the light in the kitchen", "turn off the lights"] * 3
POOL = [
    "Turn on the light",
    "What's the weather?",
    "Golau ymlaen os gwelwch yn dda",
    "Light off!",
    "बत्ती जलाओ",
    "???",
    "",
]


@pytest.fixture
def candidates(make_candidates):
    base = make_candidates([9], [1], [7])
    return dataclasses.replace(base, features=Features(ngrams=Ngrams(ngram_counts(USAGE), ngram_counts(POOL))))


def test_weights_are_those_of_the_authors(tmp_path, candidates):
    """Breaks if a token, a hash, a bag or the smoothing is another one; reference: the package `data-selection`."""
    from data_selection import HashedNgramDSIR

    for name, texts in (("usage", USAGE), ("pool", POOL)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    theirs = HashedNgramDSIR(
        [str(tmp_path / "pool.jsonl")], [str(tmp_path / "usage.jsonl")], cache_dir=str(tmp_path / "cache"), num_proc=1
    )
    theirs.fit_importance_estimator(num_tokens_to_fit="all")
    weights = [theirs.importance_estimator(theirs.featurizer(text)) for text in POOL]
    np.testing.assert_allclose(log_importance(candidates.features.ngrams), weights, rtol=1e-9, atol=1e-9)


def test_draws_are_without_replacement_in_proportion_to_the_weights(make_candidates):
    """Breaks if the noise is not Gumbel's: of three rows with weights 1:2:5 the first draw of 4,000 seeds must take
    each in proportion; four standard errors are 0.032. The second follows the weights that are left."""
    c = make_candidates([3], [1], [3], noise=0.5)
    log_weights = np.log([1.0, 2.0, 5.0])
    order = np.array([np.argsort(-(log_weights + gumbel(c, seed))) for seed in range(4000)])
    first = np.bincount(order[:, 0], minlength=3) / 4000
    np.testing.assert_allclose(first, [1 / 8, 2 / 8, 5 / 8], atol=0.032)
    after_the_last = order[order[:, 0] == 2, 1]
    assert np.mean(after_the_last == 1) == pytest.approx(2 / 3, abs=0.04)


def test_copies_are_drawn_apart(make_candidates):
    """Breaks if equal rows share their noise and are drawn or left as a block: noise of 2,000 copies of one row spreads
    like a Gumbel's (mean 0.577, variance 1.645)."""
    c = make_candidates([1], [1], [2000])
    c = dataclasses.replace(c, pool=np.repeat(c.pool[:1], 2000, axis=0), features=Features())
    noise = gumbel(c, 0)
    assert noise.mean() == pytest.approx(0.577, abs=0.12)
    assert noise.var() == pytest.approx(1.645, abs=0.35)


def test_dsir_prefers_what_usage_says(candidates):
    """Breaks if signs are turned: the row in the usage's own words is drawn first under nearly every seed."""
    first = [get_strategy("dsir").select(candidates, 1, seed).indices[0] for seed in range(50)]
    assert np.mean(np.array(first) == 0) > 0.9
