from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from compass.drift.declustering import Declustering, affinity_of, find_reach
from compass.drift.traffic import likelihood_ratios, split

K = 20
ALONE = np.eye(K)


def in_sessions(n: int, at_once: int, seed: int = 0, *, k: int = K) -> npt.NDArray[np.int64]:
    """Return the topics of prompts in sessions of four on average, so many of them open at a time."""
    rng = np.random.default_rng(seed)
    topics, users = rng.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2)), rng.integers(0, at_once, n)
    latest = np.full(at_once, -1)
    for i, user in enumerate(users.tolist()):
        if latest[user] >= 0 and rng.random() < 0.75:
            topics[i] = topics[latest[user]]
        latest[user] = i
    return topics


def singles(n: int, seed: int = 0) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).choice(K, n, p=np.arange(1, K + 1) / (K * (K + 1) / 2))


@pytest.mark.parametrize("seed", range(5))
def test_independent_prompts_are_left_alone(seed: int):
    """Breaks if chance, or a drift, passes for sessions: both would be found later, or not at all."""
    drifted = np.concatenate([singles(1500, seed), np.random.default_rng(seed).choice(3, 500)])
    for topics in (singles(2000, seed), drifted):
        assert find_reach(topics) == 0
        assert Declustering.fit(topics, ALONE) is None


@pytest.mark.parametrize("at_once", [1, 5, 20])
def test_sessions_are_counted_about_once_each(at_once: int):
    """Breaks if prompts of one session count as so many witnesses, one after the other or mixed with others."""
    topics = in_sessions(2000, at_once)
    found = Declustering.fit(topics, ALONE)
    assert found is not None
    counted = found.weights(topics).sum()
    # A quarter begins. Where many are open at once too many are found, in window and reference alike.
    assert 400 < counted < (560 if at_once == 1 else 800)
    window = found.weights(topics, 500)
    assert len(window) == 500
    assert window.sum() == pytest.approx(found.weights(topics)[-500:].sum(), rel=0.1)


def test_the_first_prompts_follow_on_what_nobody_saw():
    """Breaks if a window whose past is not known counts more sessions than one in the middle of a stream."""
    topics = in_sessions(2000, 20)
    found = Declustering.fit(topics, ALONE)
    assert found is not None
    assert found.weights(topics[:500]).sum() == pytest.approx(found.weights(topics).sum() / 4, rel=0.15)


def test_a_topic_that_becomes_frequent_is_more_than_one_session():
    """Breaks if the monitor is deaf to a drift among sessions that are open at once."""
    found = Declustering.fit(in_sessions(2000, 20), ALONE)
    assert found is not None
    latest = in_sessions(500, 20, 1)
    latest[100:] = np.where(in_sessions(400, 20, 2) > 12, 0, latest[100:])
    shares = (found.shares + np.bincount(latest, minlength=K) / 500) / 2.0
    weights = found.follows(np.concatenate([in_sessions(1000, 20, 3), latest]), 500).begin(shares)
    assert weights[latest == 0].sum() > 25


def test_prompts_with_an_id_are_passed_over():
    """Breaks if a prompt whose session is known is declustered too."""
    topics = in_sessions(2000, 1)
    topics[::10] = -1
    found = Declustering.fit(topics, ALONE)
    assert found is not None
    assert (found.weights(topics)[::10] == 1.0).all()


def test_a_topic_in_two_clusters_keeps_to_both():
    """Breaks if a session that wanders between the two clusters of its topic is counted several times."""
    rng = np.random.default_rng(0)
    topics = np.linalg.qr(rng.normal(size=(16, 16)))[0][:6]
    x = topics[rng.integers(0, 6, 600)] + 0.1 * rng.normal(size=(600, 16))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    near = topics[0] + 0.05 * topics[5]
    centroids = np.stack([topics[0], near / np.linalg.norm(near), *topics[1:5]])
    found = affinity_of(x, np.argmax(x @ centroids.T, axis=1), centroids)
    assert found.sum(axis=1) == pytest.approx(np.ones(6))
    assert found[0, 1] > 0.2
    assert found[2, 3] < 0.05


@pytest.mark.parametrize("at_once", [5, 20])
def test_window_and_reference_differ_no_more_than_chance_allows(at_once: int):
    """Breaks if a fit of the stream is compared with one of the reference: what both get wrong then differs.

    Of 16 divergences the mean is 1.3 to 1.6 times that of independent prompts then, and .9 by one fit, within .06.
    """
    rng, ratios = np.random.default_rng(0), []
    for seed in range(16):
        reference, stream = in_sessions(2000, at_once, seed), in_sessions(2500, at_once, 100 + seed)
        model = Declustering.fit(stream[:2000], ALONE)
        assert model is not None
        window = np.bincount(stream[2000:], minlength=K)
        shares = (np.bincount(reference, minlength=K) / 2000 + window / 500) / 2.0
        counts = [
            np.rint(np.bincount(topics, weights, minlength=K)).astype(np.int64)
            for topics, weights in (
                (stream[2000:], model.follows(stream, 500).begin(shares)),
                (reference, model.follows(reference).begin(shares)),
            )
        ]
        pooled = sum(counts)[None]
        drawn = split(pooled, np.array([counts[0].sum()]), 100, rng)
        chance = likelihood_ratios(drawn, pooled - drawn).mean()
        ratios.append(float(likelihood_ratios(counts[0][None, None], counts[1][None, None])[0]) / chance)
    assert np.mean(ratios) < 1.15


def test_a_young_stream_shows_its_sessions_to_who_asks_for_less():
    """Breaks if a monitor whose reference has no order raises an alarm each time it starts."""
    streams = [in_sessions(600, 20, seed) for seed in range(10)]
    assert sum(find_reach(topics) > 0 for topics in streams) < 5
    assert sum(find_reach(topics, in_doubt=True) > 0 for topics in streams) >= 9
    assert sum(find_reach(singles(600, seed), in_doubt=True) > 0 for seed in range(20)) <= 5
