from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compass.errors import ConfigError, DataError, SelectionError
from compass.selection import Candidates, Caps, Features, build_candidates, get_strategy, strategy_names
from compass.selection.caps import DEFAULT_CAPS, NO_CAPS
from compass.semantic import SemanticSpace

CHOOSING = tuple(name for name in strategy_names() if name not in ("all", "target-only"))


def run(name, candidates, budget=20, seed=0, caps=DEFAULT_CAPS):
    return get_strategy(name, caps).select(candidates, budget, seed)


@pytest.mark.parametrize("name", strategy_names())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    usage=st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any),
    current=st.lists(st.integers(0, 6), min_size=4, max_size=4),
    pool=st.lists(st.integers(0, 15), min_size=4, max_size=4).filter(any),
    budget=st.integers(1, 40),
    tokens=st.booleans(),
)
def test_accounts_balance(make_candidates, name, usage, current, pool, budget, tokens):
    """Breaks if a row is picked twice, the budget is overspent, or any sum of the audit does not match the picks."""
    costs = np.random.default_rng(1).integers(1, 9, size=sum(pool)) if tokens else None
    candidates = make_candidates(usage, current, pool, costs=costs)
    selection = run(name, candidates, budget)
    assert selection.budget_unit == ("tokens" if tokens else "examples")
    indices = selection.indices
    m = len(indices)
    assert len(set(indices.tolist())) == m == len(selection.scores) == len(selection.reasons)
    assert all(selection.reasons)
    np.testing.assert_array_equal(selection.clusters, candidates.pool_clusters[indices])
    assert selection.spent == candidates.pool_costs[indices].sum() == selection.picked.sum()
    assert (selection.picked <= selection.supply).all()
    assert selection.supply.sum() == candidates.pool_costs.sum()
    np.testing.assert_allclose(selection.unmet, np.maximum(selection.demand - selection.picked, 0))
    if name != "all":
        assert selection.spent <= budget
    if name in CHOOSING:
        assert selection.shortfall == budget - selection.spent


@pytest.mark.parametrize("name", CHOOSING)
def test_a_rest_that_no_row_fits_is_no_note(make_candidates, name):
    """Breaks if a reader is told of a whole pool that was passed over since one token of the budget was left."""
    c = make_candidates([8, 2], [1, 5], [30, 30], costs=[3] * 60)
    selection = run(name, c, budget=31, caps=NO_CAPS)
    assert selection.spent == 30
    assert not any("budget left" in note for note in selection.notes)


@pytest.mark.parametrize("name", CHOOSING)
def test_the_order_of_the_pool_does_not_matter(make_candidates, reorder, name):
    """Breaks if draws or ties go by a row's place: the same rows must come out of a shuffled pool."""
    c = make_candidates([6, 2, 0, 4], [0, 5, 5, 1], [30, 30, 30, 30])
    order = np.random.default_rng(3).permutation(len(c.pool))
    shuffled = reorder(c, order)
    one, two = run(name, c), run(name, shuffled)
    assert one.indices.tolist() == order[two.indices].tolist()


@pytest.mark.parametrize("name", CHOOSING)
def test_the_seed_decides(make_candidates, name):
    """Breaks if a draw is not seeded; the rules that draw must differ between seeds (20 of 120 rows)."""
    c = make_candidates([6, 2, 0, 4], [0, 5, 5, 1], [30, 30, 30, 30])
    assert run(name, c).indices.tolist() == run(name, c).indices.tolist()
    if name not in ("compass", "nearest", "rds", "less", "given"):
        assert run(name, c, seed=0).indices.tolist() != run(name, c, seed=1).indices.tolist()


def test_compass_picks_what_usage_needs_and_the_data_lacks(make_candidates):
    """Breaks if usage or training data is ignored: usage asks for topics 0 to 2, the data has plenty of 0, so picks are
    of 1 and 2, both of them, and of nothing that usage does not ask for."""
    c = make_candidates([10, 10, 10, 0, 0], [40, 1, 1, 10, 10], [40, 40, 40, 40, 40], noise=0.15)
    topics = Counter(run("compass", c, budget=30).clusters.tolist())
    assert topics[1] >= 10
    assert topics[2] >= 10
    assert topics[3] == topics[4] == 0
    assert topics[0] <= 6


def test_compass_fills_every_gap_cluster_that_has_supply(make_candidates):
    """Breaks if a rare need is crowded out by frequent ones: topic 3 is one usage row in 41, two pool rows in 122."""
    c = make_candidates([20, 20, 0, 1], [1, 1, 20, 0], [60, 60, 0, 2], noise=0.3)
    assert run("compass", c, budget=40).picked[3] >= 1


def test_compass_spreads_where_nearest_crowds(make_candidates):
    """Breaks if turns are not kept: topic 0's rows are tight and win every comparison of cosines, topic 1's are
    scattered; nearest takes topic 0 alone, compass at least a third of topic 1."""
    rng = np.random.default_rng(0)

    def rows(n, topic, noise):
        x = np.eye(12)[np.full(n, topic)] + noise * rng.normal(size=(n, 12))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    base = make_candidates([10, 10], [1, 1], [60, 60])
    c = dataclasses.replace(
        base,
        usage=np.concatenate([rows(10, 0, 0.02), rows(10, 1, 0.25)]),
        pool=np.concatenate([rows(60, 0, 0.02), rows(60, 1, 0.25)]),
        features=Features(),
    )
    assert run("nearest", c, budget=30, caps=NO_CAPS).picked.tolist() == [30, 0]
    assert run("compass", c, budget=30, caps=NO_CAPS).picked[1] >= 10


def test_no_data_at_hand_is_no_obstacle(make_candidates):
    """Breaks if an empty (0, d) array divides by zero."""
    for name in strategy_names():
        assert run(name, make_candidates([3, 3], [0, 0], [20, 20]), budget=10).spent == {
            "all": 40,
            "target-only": 0,
        }.get(name, 10)


def test_the_language_cap_holds_and_is_set_aside_only_in_need(make_candidates):
    """Breaks if the cap is ignored, or starves a need that one language alone can meet and says nothing."""
    c = make_candidates([10, 10], [1, 1], [60, 60], languages=("en", "de", "th", "ru", "el"))
    selection = run("compass", c, budget=20)
    counts = Counter(c.pool_languages[i] for i in selection.indices)
    assert max(counts.values()) <= 5
    alone = make_candidates([10, 10], [1, 1], [60, 60], languages=("en", "de"))
    selection = run("compass", alone, budget=20)
    assert selection.spent == 20
    assert any("language" in note and "taken" in note for note in selection.notes)
    assert any("language cap" in reason for reason in selection.reasons)


def test_the_language_cap_is_no_row_above_its_share(make_candidates):
    """Breaks if 0.28 of 25 is eight rows, since the product is a little more than seven in floating point."""
    c = make_candidates([10], [0], [200], languages=("en", "de", "th", "ru"))
    selection = run("compass", c, budget=25, caps=Caps(language_cap=0.28, duplicate_similarity=1.0))
    assert Counter(Counter(c.pool_languages[i] for i in selection.indices).values()) == {7: 3, 4: 1}


def test_a_pool_in_one_language_is_under_no_language_cap(make_candidates):
    """Breaks if three quarters of the picks are told to be above a cap that no other row could have kept to."""
    c = make_candidates([20, 20], [1, 1], [60, 60], languages=("de",))
    capped, free = (run("compass", c, budget=40, caps=Caps(language_cap=cap)) for cap in (0.25, 1.0))
    assert capped.indices.tolist() == free.indices.tolist()
    assert not any("language cap" in text for text in (*capped.reasons, *capped.notes))


def test_near_duplicates_are_passed_over(make_candidates):
    """Breaks if a pool of copies is picked while distinct rows are left: 30 rows, each three times, 20 wanted."""
    c = make_candidates([10], [1], [30], languages=("en",))
    tripled = dataclasses.replace(
        c,
        pool=np.tile(c.pool, (3, 1)),
        pool_clusters=np.tile(c.pool_clusters, 3),
        pool_languages=c.pool_languages * 3,
        pool_costs=np.tile(c.pool_costs, 3),
        features=Features(),
    )
    caps = Caps(language_cap=1.0)
    picks = run("compass", tripled, budget=20, caps=caps).indices
    assert len({int(i) % 30 for i in picks}) == 20
    selection = run("compass", tripled, budget=40, caps=caps)
    assert selection.spent == 40
    assert len({int(i) % 30 for i in selection.indices}) == 30
    assert any("duplicate" in note and "taken" in note for note in selection.notes)


def test_compass_paper_draws_by_gap_and_uniformly_within(make_candidates):
    """Breaks if weights are not the gap, or a draw looks at closeness: 400 draws of 10 rows of 40 hit each row about
    100 times; 60 to 140 is more than four standard errors."""
    # Gaps .5 - .1, .3 - .1, .2 - .1 and none: 14 rows at 4:2:1.
    c = make_candidates([5, 3, 2, 0], [1, 1, 1, 7], [40, 40, 40, 40])
    assert run("compass-paper", c, budget=14).picked.tolist() == [8, 4, 2, 0]
    c = make_candidates([6, 3, 1, 0], [1, 3, 5, 1], [40, 40, 40, 40])
    assert run("compass-paper", c, budget=10).picked.tolist() == [10, 0, 0, 0]
    hits = Counter(int(i) for seed in range(400) for i in run("compass-paper", c, budget=10, seed=seed).indices)
    assert len(hits) == 40
    assert 60 <= min(hits.values()) <= max(hits.values()) <= 140
    assert get_strategy("compass-paper").language_removal == "none"


def test_random_draws_are_uniform(make_candidates):
    """Breaks if similar rows are drawn together or never: as above, over the whole pool of 40."""
    c = make_candidates([6, 3], [1, 3], [20, 20])
    hits = Counter(int(i) for seed in range(400) for i in run("random", c, budget=10, seed=seed).indices)
    assert len(hits) == 40
    assert 60 <= min(hits.values()) <= max(hits.values()) <= 140


def test_nearest_against_a_full_sort(make_candidates):
    """Breaks if the mean is not over the nearest three; reference: numpy's sort."""
    c = make_candidates([4, 4], [1, 1], [30, 30])
    scores = np.sort(c.pool @ c.usage.T, axis=1)[:, -3:].mean(axis=1)
    assert set(run("nearest", c, budget=12).indices.tolist()) == set(np.argsort(-scores)[:12].tolist())


def test_an_unknown_strategy_is_answered_with_the_nearest_name():
    """Breaks if a typo ends in a KeyError."""
    with pytest.raises(ConfigError, match="Did you mean 'compass'"):
        get_strategy("compas")
    assert {"compass", "compass-paper", "nearest", "random", "all", "target-only"} <= set(strategy_names())
    assert all(get_strategy(name).name == name for name in strategy_names())


@pytest.mark.parametrize("name", strategy_names())
def test_what_a_strategy_needs_is_asked_for(make_candidates, name):
    """Breaks if a strategy runs on less than it needs, names what does not exist, or needs more than it says."""
    needs = get_strategy(name).needs
    fields = {field.name for field in dataclasses.fields(Features)}
    assert needs <= fields
    c = make_candidates([6, 2], [1, 5], [30, 30])
    only = Features(**{need: getattr(c.features, need) for need in needs})
    run(name, dataclasses.replace(c, features=only))
    for need in needs:
        without = dataclasses.replace(only, **{need: None})
        with pytest.raises(SelectionError, match=f"{name}' needs {need}"):
            run(name, dataclasses.replace(c, features=without))


@pytest.mark.parametrize(("name", "cap"), [("compass", True), ("langsim", True), ("langrank", True), ("random", False)])
def test_caps_tell_strategies_apart_that_pick_under_them(name, cap):
    """Breaks if a comparison takes a finished cell for one with other caps, or trains one again that has none."""
    tight = dataclasses.asdict(get_strategy(name, Caps(language_cap=0.1)))
    assert (tight != dataclasses.asdict(get_strategy(name))) == cap


def test_candidates_come_from_a_space(make_candidates):
    """Breaks if vectors are not moved into the language-free form, or clusters are not the space's own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    tags = ["cy"] * 20 + ["en", "de"] * 20
    space = SemanticSpace.fit(x, tags, n_clusters=5, seed=0)
    arguments = {
        "usage_languages": tags[:10],
        "train_languages": [],
        "pool_languages": tags[20:],
        "target_language": "cy",
    }
    c = build_candidates(space, usage=x[:10], train=x[:0], pool=x[20:], **arguments)
    np.testing.assert_array_equal(c.pool, space.transform(x[20:], tags[20:]))
    np.testing.assert_array_equal(c.usage_clusters, space.assign(x[:10], tags[:10]))
    assert c.train.shape == (0, 8)
    assert c.pool_costs.tolist() == [1] * 40
    with pytest.raises(SelectionError, match="pool is empty"):
        build_candidates(space, usage=x[:10], train=x[:0], pool=x[:0], **(arguments | {"pool_languages": []}))


def test_candidates_that_do_not_fit_together_are_refused(make_candidates):
    """Breaks if a strategy would run on rows of one set and clusters of another; nothing else may be seen either."""
    c = make_candidates([2, 2], [1, 1], [5, 5])
    with pytest.raises(DataError, match="10 rows and 3 languages"):
        dataclasses.replace(c, pool_languages=("en",) * 3)
    with pytest.raises(DataError, match="outside 0 to 1"):
        dataclasses.replace(c, pool_clusters=np.full(10, 7))
    other = make_candidates([2, 2], [1, 1], [5, 4])
    with pytest.raises(DataError, match="ngrams has 4 usage and 9 pool rows, expected 4 and 10"):
        dataclasses.replace(c, features=other.features)
    with pytest.raises(DataError, match="costs at least 1"):
        dataclasses.replace(c, pool_costs=np.zeros(10, dtype=np.int64))
    fields = {field.name for field in dataclasses.fields(Candidates)}
    assert not {name for name in fields if "text" in name or "label" in name or "prompt" in name}
