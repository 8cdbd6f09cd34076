"""The sequential test of two arms keeps its level, however often it is looked at."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from compass.stats.sequential import FewerSuccesses


@pytest.mark.parametrize("guesses", [(0.2, 0.8), (0.5, 0.6), (0.9, 0.95)])
def test_no_pair_gives_evidence_on_average_while_a_is_as_good(guesses: tuple[float, float]) -> None:
    """Looking often would withdraw good candidates: this is the condition of Ville's inequality."""
    test = FewerSuccesses(0.05)
    test.pairs = 10**9
    test.successes = [int(p * 10**9) for p in guesses]
    factors = {}
    for y in itertools.product((False, True), repeat=2):
        test.log_evidence = 0.0
        successes, pairs = list(test.successes), test.pairs
        test._pair(*y)
        factors[y] = math.exp(test.log_evidence)
        test.successes, test.pairs = successes, pairs
    for b in np.linspace(0, 1, 21):
        for a in np.linspace(b, 1, 11):
            mean = sum(f * (a if y[0] else 1 - a) * (b if y[1] else 1 - b) for y, f in factors.items())
            assert mean <= 1 + 1e-6


def test_it_keeps_its_level_and_finds_what_is_worse() -> None:
    """A good candidate would be withdrawn sooner or later, or a bad one never. 5 % of 400 is 20; 35 has p < .001."""
    rng = np.random.default_rng(0)

    def rejected(p_a: float, p_b: float, n: int) -> bool:
        test = FewerSuccesses(0.05)
        outcomes = zip(rng.random(n) < p_a, rng.random(n) < p_b, strict=True)
        return any(test.add(0, bool(a)) or test.add(1, bool(b)) for a, b in outcomes)

    assert sum(rejected(0.8, 0.8, 200) for _ in range(400)) < 35
    assert not any(rejected(0.9, 0.6, 200) for _ in range(50))
    assert sum(rejected(0.5, 0.95, 60) for _ in range(50)) >= 45


def test_unequal_shares_wait_for_each_other() -> None:
    """A canary of 5 % would be judged by production's outcomes alone."""
    test = FewerSuccesses(0.05)
    for _ in range(100):
        test.add(1, True)
    assert test.pairs == 0
    for _ in range(30):
        test.add(0, False)
    assert test.rejected
    assert test.pairs < 30


def withdrawn(share: float, n: int, fails: Callable[[int], float]) -> int:
    """Return how many of 40 canaries with a share of n answers are withdrawn. fails: rate of both arms at an answer."""
    rng, rejected = np.random.default_rng(0), 0
    for _ in range(40):
        test = FewerSuccesses(0.05)
        for i in range(n):
            test.add(int(rng.random() >= share), bool(rng.random() >= fails(i)))
        rejected += test.rejected
    return rejected


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_what_changes_with_time_for_both_arms_is_no_evidence(share: float) -> None:
    """A good canary would be withdrawn for an outage of the backend, as its few outcomes met those of long before."""
    assert withdrawn(share, 4000, lambda i: 0.3 if 2000 <= i < 2300 else 0.01 + 0.2 * i / 4000) <= 5


def test_what_is_tried_again_at_once_is_no_evidence() -> None:
    """A good canary would be withdrawn: what production answered last is seldom what failed and is tried again."""
    rng, rejected = np.random.default_rng(0), 0
    for _ in range(20):
        test = FewerSuccesses(0.05)
        for arm in (rng.random(10_000) >= 0.05).astype(int).tolist():
            while not test.add(arm, bool(succeeds := rng.random() >= 0.1)) and not succeeds:
                pass
        rejected += test.rejected
    assert rejected <= 3


def test_an_early_outage_of_both_arms_is_no_evidence() -> None:
    """A good canary would be withdrawn where its first failures met what production answered before them."""
    assert withdrawn(0.05, 3000, lambda i: 0.95 if 200 <= i < 900 else 0.02) <= 5
