"""LangSim and LangRank: languages in an order that is known beforehand."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.stats import spearmanr

from compass.errors import SelectionError
from compass.selection import Caps, Features, TransferResult, Typology, get_strategy
from compass.selection.caps import DEFAULT_CAPS
from compass.selection.strategies.langrank import FEATURES, STATISTICS, pair_features, relevance, train_ranker
from compass.selection.strategies.langsim import CATEGORIES, UNKNOWN, mean_distance

OPEN = Caps(language_cap=1.0)


def run(name, candidates, budget=20, seed=0, caps=DEFAULT_CAPS):
    return get_strategy(name, caps).select(candidates, budget, seed)


def languages_of(candidates, selection):
    return [candidates.pool_languages[i] for i in selection.indices]


@pytest.fixture
def celtic(make_candidates):
    """40 rows each of four languages with known distances, and of one that nobody knows."""
    c = make_candidates([4, 4], [1, 1], [100, 100], languages=("th", "ga", "en", "br", "xx"))
    distances = {
        "br": {"genetic": 0.1, "syntactic": 0.3},
        "ga": dict.fromkeys(CATEGORIES, 0.3),
        "en": dict.fromkeys(CATEGORIES, 0.5),
        "th": dict.fromkeys(CATEGORIES, 0.9),
    }
    return dataclasses.replace(c, features=Features(typology=Typology(distances, frozenset())))


def test_langsim_takes_the_nearest_languages_first(celtic):
    """Breaks if the order is another, or the cap does not make it several languages: a quarter each of the nearest
    four, a half each of the nearest two, or everything of the nearest."""
    assert Counter(languages_of(celtic, run("langsim", celtic))) == {"br": 5, "ga": 5, "en": 5, "th": 5}
    assert languages_of(celtic, run("langsim", celtic, budget=10)) == ["br"] * 3 + ["ga"] * 3 + ["en"] * 3 + ["th"]
    assert languages_of(celtic, run("langsim", celtic, caps=Caps(language_cap=0.5))) == ["br"] * 10 + ["ga"] * 10
    assert languages_of(celtic, run("langsim", celtic, budget=50, caps=OPEN)) == ["br"] * 40 + ["ga"] * 10


def test_langsim_says_what_is_missing(celtic):
    """Breaks if unknown pairs are dropped, taken first, or passed over in silence."""
    assert mean_distance(celtic.features.typology, "br") == pytest.approx(0.2)
    assert mean_distance(celtic.features.typology, "xx") == UNKNOWN
    selection = run("langsim", celtic, budget=200)
    assert languages_of(celtic, selection)[-1] == "xx"
    assert selection.notes["language ranked last: URIEL has no data on it"] == 40
    assert sum(n for note, n in selection.notes.items() if "without geographic, phonological" in note) == 40
    nothing = dataclasses.replace(celtic, features=Features(typology=Typology({}, frozenset())))
    with pytest.raises(SelectionError, match="no distance from 'cy'"):
        run("langsim", nothing)


def test_the_cap_is_set_aside_only_in_need(celtic):
    """Breaks if a pool of few languages leaves budget unspent, or the cap is set aside without a word: five languages
    at a tenth each are half of the budget, the rest is the nearest language's."""
    selection = run("langsim", celtic, budget=50, caps=Caps(language_cap=0.1))
    assert Counter(languages_of(celtic, selection)) == {"br": 30, "ga": 5, "en": 5, "th": 5, "xx": 5}
    assert sum("above the language cap" in reason for reason in selection.reasons) == 25
    assert selection.notes["taken above the language cap: the other languages have no more rows"] == 25


def results_of(truth, targets, sources, seed=0, noise=0.0):
    """Return results whose score is the truth's function of the pair's features, which are random."""
    rng = np.random.default_rng(seed)
    found = []
    for target in targets:
        for source in sources:
            features = dict(zip(FEATURES, rng.random(len(FEATURES)).tolist(), strict=True))
            found.append(TransferResult(target, source, truth(features) + noise * rng.normal(), features))
    return tuple(found)


def test_langrank_learns_what_decides_transfer():
    """Breaks if groups, signs or features are mixed up: with scores that fall with genetic distance and rise with word
    overlap, ten held-out targets are ranked nearly right, while their order by another feature is not."""

    def truth(features):
        return features["word_overlap"] - 2 * features["genetic"]

    ranker = train_ranker(results_of(truth, [f"t{i}" for i in range(20)], [f"s{i}" for i in range(12)]), "cy", seed=0)
    correlations = []
    for i in range(10):
        unseen = results_of(truth, ["new"], [f"s{i}" for i in range(12)], seed=100 + i)
        predicted = ranker.predict(np.array([pair_features(result.features) for result in unseen]))
        correlations.append(spearmanr(predicted, [result.score for result in unseen]).statistic)
    assert np.mean(correlations) > 0.8


def test_langrank_leaves_the_target_out(make_candidates):
    """Breaks if results of the target language leak into its own ranking: poisoned ones, under its tag or under one
    with a region, must change nothing."""

    def truth(features):
        return -features["genetic"]

    clean = results_of(truth, ["ga", "br", "en", "de"], ["fr", "it", "es", "th", "ru"])
    poison = results_of(lambda f: 9 * f["genetic"], ["cy", "cy-GB"], ["fr", "it", "es", "th", "ru"], seed=5)
    rows = np.random.default_rng(1).random((30, len(FEATURES)))
    one, two = (train_ranker(results, "cy", seed=0).predict(rows) for results in (clean, clean + poison))
    np.testing.assert_array_equal(one, two)
    other = train_ranker(clean + poison, "sw", seed=0).predict(rows)
    assert np.abs(one - other).max() > 0.01


def test_langrank_ranks_the_pool_and_takes_the_best_first(make_candidates):
    """Breaks if a language is given another one's features: transfer falls with syntactic distance."""
    c = make_candidates([4, 4], [1, 1], [60, 60], languages=("th", "ga", "en"))
    distances = {"th": {"syntactic": 0.9}, "ga": {"syntactic": 0.1}, "en": {"syntactic": 0.5}}
    results = results_of(lambda f: -f["syntactic"], [f"t{i}" for i in range(12)], [f"s{i}" for i in range(8)])
    statistics = {language: dict.fromkeys(STATISTICS, 0.5) for language in distances}
    features = Features(typology=Typology(distances, frozenset()), text_statistics=statistics, transfer_results=results)
    selection = run("langrank", dataclasses.replace(c, features=features), budget=100, caps=OPEN)
    assert languages_of(c, selection) == ["ga"] * 40 + ["en"] * 40 + ["th"] * 20
    assert "ga is no. 1 of 3 languages by learnt transfer" in selection.reasons[0]


def test_langrank_refuses_without_results(make_candidates):
    """Breaks if a model is trained from next to nothing: two other targets, and one with a single source."""
    c = make_candidates([4, 4], [1, 1], [20, 20])
    few = results_of(lambda f: 0.0, ["ga", "br", "cy"], ["fr", "it"]) + results_of(lambda f: 0.0, ["en"], ["fr"])
    for results, n in (((), 0), (few, 2)):
        with pytest.raises(SelectionError, match=f"at least 3 languages other than 'cy'.* got {n} in {len(results)}"):
            run("langrank", dataclasses.replace(c, features=dataclasses.replace(c.features, transfer_results=results)))


def test_langrank_refuses_results_that_teach_nothing(make_candidates):
    """Too few for a tree to split: every language would be no. 1, and a random draw be called learnt transfer."""
    results = results_of(lambda f: -f["genetic"], ["ga", "br", "en"], ["fr", "it"])
    with pytest.raises(SelectionError, match="learnt nothing from 6 transfer results of 3 languages other than 'cy'"):
        train_ranker(results, "cy", seed=0)


def test_relevance_is_by_place():
    """Breaks if scores of targets of different difficulty are mixed: places alone count, ties share one."""
    assert relevance([0.2, 0.9, 0.9, 0.1]).tolist() == [8, 10, 10, 7]
    assert relevance([float(-i) for i in range(13)]).tolist() == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]


def test_lightgbm_is_loaded_only_when_needed():
    """Breaks if every selection pays for LightGBM, or needs it installed."""
    code = "import sys, compass.selection; assert 'lightgbm' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
