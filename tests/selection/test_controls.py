"""The controls: each against a case that can be worked by hand."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from compass.errors import ConfigError, SelectionError
from compass.selection import Features, Typology, get_strategy
from compass.selection.caps import DEFAULT_CAPS


def run(name, candidates, budget=20, seed=0, caps=DEFAULT_CAPS):
    return get_strategy(name, caps).select(candidates, budget, seed)


def hits(name, candidates, budget, seeds=400):
    """Count how often each pool row is picked over many seeds."""
    return Counter(int(i) for seed in range(seeds) for i in run(name, candidates, budget, seed=seed).indices)


def test_topic_random_takes_as_much_from_every_cluster(make_candidates):
    """Breaks if strata go by the pool's sizes or by usage: 16 rows of four clusters of 60, 30, 10 and 2 rows, of which
    the last gives its two and leaves the rest to the others."""
    c = make_candidates([9, 0, 0, 1], [5, 5, 0, 0], [60, 30, 10, 2])
    assert sorted(run("topic-random", c, budget=17).picked.tolist()) == [2, 5, 5, 5]
    assert run("topic-random", c, budget=17).picked[3] == 2


def test_topic_random_is_uniform_within_a_cluster(make_candidates):
    """Breaks if a draw looks at closeness: 400 draws of 5 of 20 rows hit each about 100 times (more than four standard
    errors to either bound)."""
    counts = hits("topic-random", make_candidates([6, 0], [1, 1], [20, 20]), 10)
    assert len(counts) == 40
    assert 60 <= min(counts.values()) <= max(counts.values()) <= 140


@pytest.mark.parametrize("name", ["topic-random", "crisp", "compass-paper"])
@pytest.mark.parametrize("budget", [720, 2400])
def test_rows_of_every_length_are_drawn_alike_in_tokens(make_candidates, name, budget):
    """Breaks if a long row waits for room in its cluster while short ones pass it: lengths are those of a plain draw.

    Twelve quotas of 60 and of 200 tokens for rows of 20, 80 and 160.
    """
    costs = np.random.default_rng(0).choice([20, 80, 80, 160], 480)
    c = make_candidates([2] * 12, [0] * 12, [40] * 12, costs=costs)

    def lengths(strategy):
        found = [run(strategy, c, budget=budget, seed=seed) for seed in range(60)]
        assert all(budget - 20 < selection.spent <= budget for selection in found)
        picked = np.concatenate([c.pool_costs[selection.indices] for selection in found])
        return [np.mean(picked == cost) for cost in (20, 80, 160)]

    np.testing.assert_allclose(lengths(name), lengths("random"), atol=0.05)


@pytest.mark.parametrize("name", ["topic-random", "crisp", "compass-paper"])
def test_rows_longer_than_a_clusters_share_are_still_had(make_candidates, name):
    """Breaks if a budget stays unspent since every row is longer than what a cluster gets: 4 rows for 12 clusters."""
    c = make_candidates([2] * 12, [0] * 12, [10] * 12, costs=[400] * 120)
    selection = run(name, c, budget=1600)
    assert selection.spent == 1600
    assert selection.picked.max() == 400
    assert selection.notes == {}


def test_crisp_goes_by_usage_and_is_blind_to_the_training_data(make_candidates):
    """Breaks if shares are not the usage's (5:3:2), the training data counts, or a draw looks at closeness."""
    plenty = make_candidates([5, 3, 2, 0], [9, 9, 0, 0], [40] * 4)
    nothing = dataclasses.replace(plenty, train=plenty.train[:0], train_clusters=plenty.train_clusters[:0])
    assert run("crisp", plenty).picked.tolist() == [10, 6, 4, 0]
    assert run("crisp", plenty).indices.tolist() == run("crisp", nothing).indices.tolist()
    assert run("crisp", plenty).demand.tolist() == [10.0, 6.0, 4.0, 0.0]
    counts = hits("crisp", make_candidates([4, 4], [1, 1], [20, 20]), 10)
    assert 60 <= min(counts.values()) <= max(counts.values()) <= 140


def test_crisp_is_the_literal_rule_without_data_at_hand(make_candidates):
    """Breaks if the two differ in more than the gap: without training data the gap is the usage's share."""
    c = make_candidates([5, 3, 2, 0], [0, 0, 0, 0], [40, 2, 40, 40])
    assert run("crisp", c).indices.tolist() == run("compass-paper", c).indices.tolist()


def test_english_takes_english_of_any_region(make_candidates):
    """Breaks if a region is missed, another language is taken, or a draw is not uniform."""
    c = make_candidates([4, 4], [1, 1], [20, 20], languages=("en", "en-GB", "enm", "de"))
    counts = hits("english", c, 5)
    assert {c.pool_languages[row] for row in counts} == {"en", "en-GB"}
    assert len(counts) == 20
    assert 60 <= min(counts.values()) <= max(counts.values()) <= 140
    assert run("english", c, budget=30).shortfall == 10
    with pytest.raises(SelectionError, match="'english' found no row in 'en': the pool is in de"):
        run("english", make_candidates([4], [1], [20], languages=("de",)))


def test_one_language_by_name(make_candidates):
    """Breaks if `only-de` is another draw than `english` makes, or a tag that begins alike is taken."""
    c = make_candidates([4, 4], [1, 1], [20, 20], languages=("de", "de-AT", "den", "en"))
    assert {c.pool_languages[row] for row in run("only-de", c, budget=10).indices} == {"de", "de-AT"}
    assert run("only-en", c).indices.tolist() == run("english", c).indices.tolist()
    with pytest.raises(SelectionError, match="'only-fr' found no row in 'fr'"):
        run("only-fr", c)
    with pytest.raises(ConfigError, match="unknown"):
        get_strategy("only-")


def test_family_draws_from_relatives_alone(make_candidates):
    """Breaks if a stranger is taken, or an isolate passes in silence."""
    c = make_candidates([4, 4], [1, 1], [20, 20], languages=("ga", "br", "th", "fi"))
    related = dataclasses.replace(c, features=Features(typology=Typology({}, frozenset({"ga", "br", "gd"}))))
    counts = hits("family", related, 5)
    assert {c.pool_languages[row] for row in counts} == {"ga", "br"}
    assert 60 <= min(counts.values()) <= max(counts.values()) <= 140
    alone = dataclasses.replace(c, features=Features(typology=Typology({}, frozenset())))
    with pytest.raises(SelectionError, match="no relative of 'cy'"):
        run("family", alone)


@pytest.mark.parametrize("name", ["random", "topic-random", "crisp", "english", "family"])
def test_draws_are_capped_by_nothing(make_candidates, name):
    """Breaks if a control is held back by a cap that is no part of it: one language, every row four times."""
    c = make_candidates([4], [1], [10], languages=("en",))
    copies = dataclasses.replace(
        c,
        pool=np.tile(c.pool, (4, 1)),
        pool_clusters=np.tile(c.pool_clusters, 4),
        pool_languages=c.pool_languages * 4,
        pool_costs=np.tile(c.pool_costs, 4),
        features=Features(typology=c.features.typology),
    )
    selection = run(name, copies, budget=40)
    assert selection.spent == 40
    assert selection.notes == {}
