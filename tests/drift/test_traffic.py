from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from compass.drift.background import Background, Order
from compass.drift.compared import Compared
from compass.drift.hours import DAY, WEEK, Cycle, find_cycle
from compass.drift.traffic import Dependence, Pairing, Pairs, Sequence, inflation, likelihood_ratios
from compass.drift.window import Block

K = 20
HOURS = 3600.0


def singles(n: int, seed: int = 0) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).choice(K, n, p=np.arange(1, K + 1) / (K * (K + 1) / 2))


def in_sessions(n: int, seed: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the topics and numbers of sessions of four prompts on average, one after the other."""
    sessions = np.cumsum(np.random.default_rng([seed, 1]).random(n) < 0.25)
    return singles(n + 1, seed)[sessions], sessions


def dependence(topics: npt.NDArray[np.int64], sessions: npt.NDArray[np.int64] | None = None) -> Dependence:
    none = np.full(len(topics), -1)
    return Dependence.of(
        Pairing(K).add(topics, none if sessions is None else sessions)[1], np.bincount(topics, minlength=K)
    )


@pytest.mark.parametrize("seed", range(20))
def test_independent_prompts_have_no_dependence(seed: int):
    """Breaks if chance is taken for sessions: tests of independent prompts would no longer be what they were."""
    assert dependence(singles(500, seed)) == Dependence()


def test_a_change_within_the_sample_is_no_dependence():
    """Breaks if drift is taken for sessions, and so explained away."""
    topics = np.concatenate([singles(250), np.random.default_rng(1).choice(4, 250)])
    assert not dependence(topics).found


def test_sessions_with_ids_count_about_once_each():
    """Breaks if a session that stays with its topic counts more than once, or one that wanders less."""
    topics, sessions = in_sessions(2000)
    found = dependence(topics, sessions)
    assert found.coherence > 0.95
    assert found.length == pytest.approx(len(topics) / len(np.unique(sessions)), abs=0.01)
    assert found.later_weight < 0.05
    assert dependence(singles(2000), sessions).later_weight == 1.0


def test_sessions_without_ids_are_seen_in_the_order():
    """Breaks if runs of one topic are taken for so many independent prompts."""
    topics, sessions = in_sessions(2000)
    lesser, pairs = Pairing(K).add(topics, np.full(len(topics), -1))
    counts = np.bincount(topics, minlength=K)
    units = Dependence.of(pairs, counts).units(counts.astype(float), pairs.follow, pairs.later)
    assert units.sum() == pytest.approx(len(np.unique(sessions)), rel=0.1)
    assert lesser.sum() == pairs.follow.sum()


def test_mixed_sessions_without_ids_are_seen_in_what_is_nearby():
    """Breaks if sessions that are open at the same time hide each other."""
    topics = np.empty(3000, dtype=np.int64)
    for user in range(10):
        topics[user::10] = in_sessions(300, user)[0]
    assert dependence(topics).nearby > 2.0


def test_pairs_add_up_over_spans():
    """Breaks if what is found depends on how the stream is cut into batches."""
    topics, sessions = in_sessions(300)
    sessions[::7] = -1
    whole_lesser, whole = Pairing(K).add(topics, sessions)
    pairing, parts, lesser = Pairing(K), Pairs.none(K), []
    for start, stop in ((0, 1), (1, 40), (40, 41), (41, 300)):
        found, pairs = pairing.add(topics[start:stop], sessions[start:stop])
        lesser.append(found)
        parts += pairs
    assert np.array_equal(np.concatenate(lesser), whole_lesser)
    for mine, theirs in zip(parts.columns(), whole.columns(), strict=True):
        assert np.array_equal(mine, theirs)


def swinging(n: int, cycle: float, seed: int = 0) -> npt.NDArray[np.int64]:
    """Return the topics of n prompts whose shares swing by half."""
    rng = np.random.default_rng(seed)
    shares = 1.0 + 0.5 * np.sin(2 * np.pi * np.arange(n)[:, None] / cycle + rng.uniform(0, 6, K))
    sums = np.cumsum(shares, axis=1)
    return (rng.random(n)[:, None] * sums[:, -1:] > sums).sum(axis=1)


def test_stretches_that_differ_inflate():
    """Breaks if a mix that moves over the day is taken for independent prompts, or the other way round."""
    flat = np.zeros(2000, dtype=np.int64)
    assert inflation(Sequence(singles(2000), np.ones(2000), flat, K), 500, seed=0) == 1.0
    assert inflation(Sequence(swinging(2000, 2000), np.ones(2000), flat, K), 500, seed=0) > 1.5


@pytest.mark.parametrize(("days", "cycle", "found"), [(4, 1, DAY), (4, 0, None), (1, 1, None), (28, 7, WEEK)])
def test_the_cycle_that_the_reference_shows_is_found(days: int, cycle: int, found: int | None):
    """Breaks if hours are not compared with themselves where they differ, or are where that only costs."""
    n = 250 * days
    topics = swinging(n, 250 * cycle) if cycle else singles(n)
    times = 1.7e9 + np.arange(n) * 86_400 / 250
    cycle_found = find_cycle(times, Sequence(topics, np.ones(n), np.zeros(n, dtype=np.int64), K), seed=0)
    assert (cycle_found.hours if cycle_found else None) == found


def test_strata_are_hours_and_unknown_times_have_none():
    """Breaks if 23:59 and 00:00 share an hour, or a prompt without a time gets one."""
    times = np.array([0.0, HOURS - 1, HOURS, 24 * HOURS - 1, 24 * HOURS, np.nan])
    assert Cycle(DAY, 24).strata(times).tolist() == [0, 0, 1, 23, 0, -1]
    assert Cycle(WEEK, 168).strata(times).tolist() == [0, 0, 1, 23, 24, -1]


def test_the_likelihood_ratio_is_that_of_a_table_of_counts():
    """Breaks if G is not scipy's, with one stratum; or if hours that both have alike change it."""
    from scipy.stats import chi2_contingency

    rng = np.random.default_rng(0)
    window, reference = rng.integers(1, 30, K), rng.integers(1, 90, K)
    expected = chi2_contingency([window, reference], correction=False, lambda_="log-likelihood").statistic
    assert likelihood_ratios(window[None, None], reference[None, None])[0] == pytest.approx(expected)
    two = np.stack([window, window]), np.stack([reference, reference])
    assert likelihood_ratios(two[0][None], two[1][None])[0] == pytest.approx(2 * expected)


@pytest.mark.parametrize("r", [0.1, 0.25, 0.4, 0.6])
def test_sessions_that_wander_vary_no_more_than_what_they_count_for(r: float):
    """Breaks if windows differ without drift, where sessions are of several lengths and keep their topic in part."""
    rng, p, later = np.random.default_rng(0), 0.3, Dependence(coherence=r, length=4.0).later_weight
    lengths = rng.geometric(0.25, 60_000)
    of_session = np.repeat(rng.random(len(lengths)) < p, lengths)
    own = np.where(rng.random(len(of_session)) < np.sqrt(r), of_session, rng.random(len(of_session)) < p)
    starts = np.cumsum(lengths) - lengths
    weights = np.full(len(own), later)
    weights[starts] = 1.0
    varies = np.mean(np.add.reduceat(weights * (own - p), starts) ** 2) / (p * (1 - p))
    assert varies / np.mean(np.add.reduceat(weights, starts)) == pytest.approx(1.0, abs=0.06)


def background(topics: npt.NDArray[np.int64], *, days: float | None = None) -> Background:
    n = len(topics)
    times = np.full(n, np.nan) if days is None else 1.7e9 + np.linspace(0, days * 86_400, n)
    return Background.of(Order(topics, np.zeros(n, dtype=np.int64), np.full(n, -1), times), K, 500, seed=0)


def test_what_is_independent_is_compared_as_it_was():
    """Breaks if the tests of independent prompts are left although nothing was found."""
    reference, topics = background(singles(2000)), singles(500, 1)
    block = Block(np.bincount(topics, minlength=K), Pairing(K).add(topics, np.full(500, -1))[1])
    assert reference.plain
    assert reference.effective == 2000
    assert Compared.of(block, reference) is None


def test_a_reference_that_tells_little_says_so():
    """Breaks if nobody is warned that drift will be found late, or that weekdays can't be told from it."""
    sorted_by_topic = background(np.sort(singles(2000)))
    assert "worth only" in sorted_by_topic.warnings()[0]
    assert "Give two weeks" in background(singles(2000), days=3).warnings()[0]
    assert "840 are needed" in background(singles(400), days=14).warnings()[0]
    one_untimed = np.r_[np.nan, 1.7e9 + np.linspace(0, 14 * 86_400, 1999)]
    order = Order(singles(2000), np.zeros(2000, dtype=np.int64), np.full(2000, -1), one_untimed)
    assert "1 of the 2000 reference prompts have no time" in Background.of(order, K, 500, seed=0).warnings()[0]
    assert background(singles(2000), days=14).warnings() == background(singles(2000)).warnings() == []
