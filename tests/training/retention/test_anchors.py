"""Tests of which rows of the history are kept, and of what stays after many updates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compass.errors import DataError
from compass.training.retention.anchors import draw_anchors


def test_five_percent_in_proportion_to_periods_and_clusters() -> None:
    """Two periods of 400 and 200 rows, clusters 3 : 1 in each: 30 anchors as 15 + 5 and 7.5 + 2.5."""
    periods = np.repeat([0, 1], [400, 200])
    clusters = np.concatenate([np.repeat([0, 1], [300, 100]), np.repeat([0, 1], [150, 50])])
    anchors = draw_anchors(clusters, periods=periods, seed=0)
    drawn = [
        [int(((periods[anchors.indices] == p) & (clusters[anchors.indices] == k)).sum()) for k in (0, 1)]
        for p in (0, 1)
    ]
    assert drawn[0] == [15, 5]
    assert drawn[1] in ([8, 2], [7, 3])
    assert anchors.by_period == {0: (400, 20), 1: (200, 10)}
    assert (anchors.wanted, anchors.shortfall) == (30, 0)


def test_a_short_history_is_rehearsed_by_more_than_its_share() -> None:
    """5 % of 160 rows are 8, which is no sample of anything; the floor never asks for more than there is."""
    clusters = np.arange(160) % 4
    assert draw_anchors(clusters, least=64, seed=0).wanted == 64
    assert draw_anchors(np.arange(2000) % 4, least=64, seed=0).wanted == 100
    assert draw_anchors(clusters, least=64, most=50, seed=0).wanted == 50
    whole = draw_anchors(clusters[:40], least=64, seed=0)
    assert whole.indices.tolist() == list(range(40))
    assert whole.shortfall == 0


def test_a_random_draw_misses_small_periods_that_strata_keep() -> None:
    """Three rows of an old period among 1,003: one anchor by strata; uniformly, most seeds draw none."""
    periods = np.repeat([0, 1], [3, 1000])
    clusters = np.zeros(1003, dtype=np.int64)
    kept = [draw_anchors(clusters, periods=periods, seed=s).by_period[0][1] for s in range(20)]
    uniform = [draw_anchors(clusters, periods=periods, rule="random", seed=s).by_period[0][1] for s in range(20)]
    assert set(kept) == {1}
    # Each of the 20 seeds has none with probability 0.86.
    assert uniform.count(0) > 10


def test_the_random_draw_is_uniform() -> None:
    counts = np.zeros(40)
    for seed in range(500):
        counts[draw_anchors(np.arange(40) % 3, share=0.25, rule="random", seed=seed).indices] += 1
    # 500 draws of 10 of 40: 125 a row, standard deviation 9.7; five of them is safe for 40 rows.
    assert np.abs(counts - 125).max() < 49


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=12),
    share=st.floats(0.01, 0.5),
    most=st.integers(1, 60),
    seed=st.integers(0, 2**31),
)
@example(sizes=[1, 1, 99], share=0.01, most=2, seed=0)
@example(sizes=[1, 2, 7], share=0.25, most=3, seed=0)
def test_the_oldest_period_keeps_its_share_over_many_updates(
    sizes: list[int], share: float, most: int, seed: int
) -> None:
    """Twelve updates where nothing is left of a period but its anchors: each period still has its share of the bound.

    After each update: no more anchors than the bound, no period below its part rounded down (or all that is left of
    it), and none lost while there are as many anchors as periods.
    """
    rng = np.random.default_rng(seed)
    periods = np.empty(0, dtype=np.int64)
    ids, clusters = periods.copy(), periods.copy()
    made, enough = 0, True
    for update, size in enumerate(sizes):
        before = {int(p): int((periods == p).sum()) for p in range(update)}
        periods = np.concatenate([periods, np.full(size, update)])
        ids = np.concatenate([ids, np.arange(made, made + size)])
        clusters = np.concatenate([clusters, rng.integers(0, 5, size)])
        made += size
        # A period that the bound left without an anchor, while there were fewer anchors than periods, is gone.
        total = sum(sizes[period] for period in set(periods.tolist()))
        anchors = draw_anchors(
            clusters, periods=periods, period_sizes=dict(enumerate(sizes)), share=share, most=most, seed=seed,
        )  # fmt: skip
        wanted = min(most, math.ceil(round(share * total, 9)))
        assert anchors.wanted == wanted
        assert len(anchors.indices) == len(set(anchors.indices.tolist())) <= wanted
        at_hand = before | {update: size}
        drawn = {p: anchors.by_period[p][1] for p in anchors.by_period}
        # Each period that is due less than one anchor may cost the others one.
        small = sum(wanted * sizes[period] / total < 1 for period in drawn)
        for p, n in drawn.items():
            assert min(at_hand[p], math.floor(wanted * sizes[p] / total - 1e-9)) - small <= n <= at_hand[p]
            if len(drawn) <= wanted:
                assert n >= 1
        # What the bound took once does not come back, however many anchors there are later.
        enough = enough and wanted >= len(drawn)
        if enough:
            assert set(drawn) == set(range(update + 1))
        keep = anchors.indices
        periods, ids, clusters = periods[keep], ids[keep], clusters[keep]


def test_the_seed_decides() -> None:
    clusters = np.arange(400) % 7
    draws = [draw_anchors(clusters, seed=seed).indices.tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 20
    assert draw_anchors(np.empty(0, dtype=np.int64), seed=0).indices.tolist() == []
    assert len(draw_anchors(clusters, most=3, seed=0).indices) == 3


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"got \(2,\) and \(3,\)"):
        draw_anchors([0, 1], periods=[0, 0, 1], seed=0)
    with pytest.raises(DataError, match="no rule 'best'"):
        draw_anchors([0, 1], rule="best", seed=0)
    with pytest.raises(DataError, match="Period 1 has 2 training rows, more than its size 1"):
        draw_anchors([0, 0, 0], periods=[0, 1, 1], period_sizes={0: 5, 1: 1}, seed=0)
