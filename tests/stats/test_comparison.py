"""Intervals, tests and effect sizes against scipy, statsmodels and simulations with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from scipy.stats import bootstrap
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from compass.stats import (
    cohens_d,
    compare_paired,
    difference_between_runs,
    holm,
    minimum_detectable_effect,
    paired_difference,
    permutation_test,
    ratio_interval,
    wilson,
)


def test_ratio_interval_against_scipy() -> None:
    """The interval would not be the percentile bootstrap; 20,000 draws leave a Monte Carlo error below 0.004 here."""
    rng = np.random.default_rng(1)
    top, bottom = rng.gamma(2.0, 1.0, 80), rng.integers(1, 20, 80).astype(float)
    ours = ratio_interval(top, bottom, draws=20_000, confidence=0.9, seed=0)
    theirs = bootstrap(
        (top, bottom),
        lambda x, y, axis=-1: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        confidence_level=0.9,
        method="percentile",
        rng=2,
    ).confidence_interval
    assert ours.value == pytest.approx(top.sum() / bottom.sum())
    assert ours.low == pytest.approx(theirs.low, abs=0.004)
    assert ours.high == pytest.approx(theirs.high, abs=0.004)


def test_paired_difference_against_scipy() -> None:
    """The two models would be resampled apart, which makes the interval about three times as wide here."""
    rng = np.random.default_rng(3)
    difficulty = rng.normal(0.0, 3.0, 100)
    base, other = difficulty + rng.normal(0.0, 0.3, 100), difficulty + 0.2 + rng.normal(0.0, 0.3, 100)
    ones = np.ones(100)
    ours = paired_difference((base, ones), (other, ones), draws=20_000, confidence=0.95, seed=0)
    theirs = bootstrap(
        (base, other),
        lambda x, y, axis=-1: y.mean(axis=axis) - x.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=4,
    ).confidence_interval
    assert ours.value == pytest.approx(other.mean() - base.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)


def test_coverage_of_a_proportion() -> None:
    """Intervals would miss the truth too often or be too wide: 400 simulated tests of 100 rows, p = 0.3, level 0.95.

    The percentile bootstrap covers about 0.94 here, with a standard error of 0.012; the bounds are four of them off.
    """
    rng = np.random.default_rng(5)
    hits = 0
    for i in range(400):
        rows = (rng.random(100) < 0.3).astype(float)
        interval = ratio_interval(rows, np.ones(100), draws=400, confidence=0.95, seed=i, proportion=True)
        hits += interval.low <= 0.3 <= interval.high
    assert 0.89 <= hits / 400 <= 0.985


def test_coverage_needs_units() -> None:
    """Rows of one item would count as independent: 10 copies of each of 30 items, level 0.9.

    Resampling items covers about 0.88; resampling rows covers below 0.5.
    """
    rng = np.random.default_rng(6)
    units = np.repeat(np.arange(30), 10).tolist()
    by_unit = by_row = 0
    for i in range(200):
        rows = np.repeat((rng.random(30) < 0.5).astype(float), 10)
        a = ratio_interval(rows, np.ones(300), draws=300, confidence=0.9, seed=i, units=units)
        b = ratio_interval(rows, np.ones(300), draws=300, confidence=0.9, seed=i)
        by_unit += a.low <= 0.5 <= a.high
        by_row += b.low <= 0.5 <= b.high
    assert 0.8 <= by_unit / 200 <= 0.97
    assert by_row / 200 < 0.6


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (3, 10, 0.1078, 0.6032)]
)
def test_wilson_against_published_values(successes: int, n: int, low: float, high: float) -> None:
    """Intervals of small clusters would be another method's (values: Newcombe 1998 formula, worked by hand)."""
    assert wilson(successes, n, 0.95) == pytest.approx((low, high), abs=5e-4)


@pytest.mark.parametrize(("before", "after", "value"), [(0, 1, 1.0), (1, 0, -1.0), (0, 0, 0.0), (1, 1, 0.0)])
@pytest.mark.parametrize("n", [1, 3, 40])
def test_rows_that_all_differ_alike_are_no_certainty(before: int, after: int, value: float, n: int) -> None:
    """Three of three that turned right would be "better" for sure; an exact sign test gives them p = .25.

    Other rows may be as many as Clopper and Pearson's interval of 0 in n leaves, and differ as much as they can.
    """
    ones = np.ones(n)
    interval = paired_difference(
        (before * ones, ones), (after * ones, ones), draws=100, confidence=0.95, seed=0, proportion=True
    )
    others = scipy.stats.binomtest(0, n).proportion_ci(0.95, method="exact").high
    assert interval.value == value
    assert interval.low == pytest.approx((1 - others) * value - others)
    assert interval.high == pytest.approx((1 - others) * value + others)
    plain = paired_difference((before * ones, ones), (after * ones, ones), draws=100, confidence=0.95, seed=0)
    assert (plain.low, plain.high) == (value, value)


def test_no_success_does_not_prove_zero() -> None:
    """A model with 0 of 20 right would get the interval [0, 0]; only proportions have Wilson's instead."""
    interval = ratio_interval(np.zeros(20), np.ones(20), draws=200, confidence=0.95, seed=0, proportion=True)
    assert (interval.value, interval.low) == (0.0, 0.0)
    assert interval.high == pytest.approx(wilson(0, 20, 0.95)[1])
    rows_that_count = np.array([1.0] * 5 + [0.0] * 15)
    few = ratio_interval(rows_that_count, rows_that_count, draws=200, confidence=0.95, seed=0, proportion=True)
    assert few.low == pytest.approx(wilson(5, 5, 0.95)[0])


def test_empty_denominators_and_draws() -> None:
    """A test set without a single slot would divide by zero, and draws without a counted row would give nan."""
    nothing = ratio_interval(np.zeros(3), np.zeros(3), draws=100, confidence=0.95, seed=0)
    assert all(math.isnan(x) for x in (nothing.value, nothing.low, nothing.high))
    rare = ratio_interval([1.0, 0.0, 0.0], [2.0, 0.0, 0.0], draws=100, confidence=0.95, seed=0)
    assert (rare.value, rare.low, rare.high) == (0.5, 0.5, 0.5)


def test_the_seed_decides() -> None:
    """Two runs of one evaluation would print two intervals."""
    x, ones = np.random.default_rng(0).random(30), np.ones(30)
    first = ratio_interval(x, ones, draws=150, confidence=0.9, seed=4)
    assert first == ratio_interval(x, ones, draws=150, confidence=0.9, seed=4)
    assert first != ratio_interval(x, ones, draws=150, confidence=0.9, seed=5)


def test_chunks_cover_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large test sets, whose draws come in chunks, would be bootstrapped from fewer draws."""
    from compass.stats import units

    monkeypatch.setattr(units, "CHUNK_CELLS", 70)
    drawn = [rows.shape for rows in units.resamples(10, 25, 0)]
    assert drawn == [(7, 10), (7, 10), (7, 10), (4, 10)]


def test_shapes_must_agree() -> None:
    """Numerators would be paired with the denominators of other rows by broadcasting."""
    with pytest.raises(ValueError, match="one length"):
        ratio_interval(np.ones(3), np.ones(1), draws=100, confidence=0.9, seed=0)
    with pytest.raises(ValueError, match="each of the 3 rows; got 2"):
        ratio_interval(np.ones(3), np.ones(3), draws=100, confidence=0.9, seed=0, units=["a", "b"])
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson(3, 2, 0.9)


def mean_test(base, other, **options):
    """Return the permutation test of two means over the same rows."""
    ones = np.ones(len(base))
    return permutation_test((base, ones), (other, ones), seed=0, **options)


def test_small_samples_are_tested_exactly() -> None:
    """A p value of a small sample would hang on the seed, or sides or ties be counted otherwise; reference: scipy,
    which enumerates all 2^9 sign flips."""
    rng = np.random.default_rng(7)
    base, other = rng.integers(0, 3, 9).astype(float), rng.integers(0, 4, 9).astype(float)
    ours = mean_test(base, other)
    theirs = scipy.stats.permutation_test(
        (other - base,),
        lambda x, axis=-1: np.abs(x.mean(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
    )
    assert (ours.exact, ours.draws) == (True, 512)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.difference == pytest.approx(other.mean() - base.mean())


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e9])
def test_large_scores_are_tested_as_small_ones(scale: float) -> None:
    """The mirrored swap of scores in the millions would not count as equally far off: p would be half of what it is,
    and differences that are all alike would have an effect of millions."""
    rng = np.random.default_rng(0)
    base, gain = rng.normal(size=10), np.abs(rng.normal(size=10))
    small, large = (
        permutation_test((s * base, np.ones(10)), (s * (base + gain), np.ones(10)), seed=0) for s in (1.0, scale)
    )
    assert small.p_value == large.p_value == 2 / 2**10
    alike, shifted = scale * base, scale * base + 0.1 * scale
    assert math.isnan(cohens_d(alike, shifted, confidence=0.95).value)
    assert math.isnan(minimum_detectable_effect(alike, shifted))
    assert math.isnan(difference_between_runs(alike, shifted, list(range(10)), confidence=0.95)[1])


def test_large_samples_agree_with_scipy() -> None:
    """Random flips would be drawn unevenly; two Monte Carlo p values near 0.03 of 20,000 draws differ by less than
    0.008 (4.5 standard errors of their difference)."""
    rng = np.random.default_rng(8)
    base = rng.normal(0.0, 1.0, 60)
    other = base + rng.normal(0.25, 1.0, 60)
    ours = mean_test(base, other, draws=20_000)
    theirs = scipy.stats.permutation_test(
        (other - base,),
        lambda x, axis=-1: np.abs(x.mean(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=20_000,
        rng=1,
    )
    assert not ours.exact
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.008)


def test_ratios_are_swapped_as_a_whole() -> None:
    """Numerators would be swapped without their denominators; reference: all 2^4 swaps, one by one."""
    base = (np.array([1.0, 4.0, 2.0, 0.0]), np.array([2.0, 5.0, 2.0, 3.0]))
    other = (np.array([2.0, 4.0, 5.0, 3.0]), np.array([2.0, 4.0, 6.0, 3.0]))
    found = []
    for bits in np.ndindex(2, 2, 2, 2):
        swap = np.array(bits, dtype=bool)
        a = [np.where(swap, y, x).sum() for x, y in zip(base, other, strict=True)]
        b = [np.where(swap, x, y).sum() for x, y in zip(base, other, strict=True)]
        found.append(abs(b[0] / b[1] - a[0] / a[1]))
    reference = np.mean(np.array(found) >= found[0] - 1e-12)
    assert permutation_test(base, other, seed=0).p_value == pytest.approx(reference)


def test_one_unit_is_one_flip() -> None:
    """Copies of a row would count as evidence: eight rows, each repeated five times, have the p value of the eight."""
    rng = np.random.default_rng(9)
    base, other = rng.random(8), rng.random(8)
    units = np.repeat(np.arange(8), 5).tolist()
    one, five = mean_test(base, other), mean_test(np.repeat(base, 5), np.repeat(other, 5), units=units)
    assert five.p_value == pytest.approx(one.p_value)
    assert five.units == 8


def test_false_positives_at_five_per_cent() -> None:
    """The test would find differences where there are none: 1,000 null comparisons, plain and with each of 40 items
    in four languages that share most of their difference.

    The standard error of a rate of 0.05 is 0.007; the bounds are four of them off. Flipping rows instead of items finds
    "differences" in more than a fifth of the clustered cases, which shows that the check can fail.
    """
    rng = np.random.default_rng(10)
    units = np.repeat(np.arange(40), 4).tolist()
    plain = clustered = by_row = 0
    for _ in range(1000):
        base = (rng.random(80) < 0.5).astype(float)
        other = (rng.random(80) < 0.5).astype(float)
        plain += mean_test(base, other, draws=999).p_value <= 0.05
        difference = np.repeat(rng.normal(0.0, 1.0, 40), 4) + rng.normal(0.0, 0.5, 160)
        clustered += mean_test(np.zeros(160), difference, draws=999, units=units).p_value <= 0.05
        by_row += mean_test(np.zeros(160), difference, draws=999).p_value <= 0.05
    assert 0.022 <= plain / 1000 <= 0.078
    assert 0.022 <= clustered / 1000 <= 0.078
    assert by_row / 1000 > 0.2


def test_no_draw_is_not_no_chance() -> None:
    """A p value of 0 would be printed for a difference that no draw reached: 40 rows, all in one direction."""
    assert mean_test(np.zeros(40), np.arange(1.0, 41.0), draws=999).p_value == pytest.approx(1 / 1000)


def test_units_of_unequal_size() -> None:
    """Large items would count twice, or not at all; references: the t test of the items' means, and statsmodels'
    standard error that is robust to clusters."""
    rng = np.random.default_rng(18)
    sizes = rng.integers(1, 7, 30)
    groups = np.repeat(np.arange(30), sizes)
    difference = 0.3 + np.repeat(rng.normal(0.0, 1.0, 30), sizes) + rng.normal(0.0, 0.3, len(groups))
    base = np.zeros(len(groups))
    means = np.bincount(groups, difference) / sizes
    d = cohens_d(base, difference, confidence=0.95, units=groups.tolist())
    assert d.value == pytest.approx(scipy.stats.ttest_1samp(means, 0.0).statistic / math.sqrt(30))
    fit = OLS(difference, np.ones(len(groups))).fit(cov_type="cluster", cov_kwds={"groups": groups})
    shown = TTestPower().solve_power(nobs=30, alpha=0.05, power=0.8, alternative="two-sided") * math.sqrt(30)
    ours = minimum_detectable_effect(base, difference, units=groups.tolist())
    assert ours == pytest.approx(shown * float(fit.bse[0]), rel=1e-4)


def test_cohens_d_against_the_t_test() -> None:
    """The effect would be scaled otherwise, or its interval hold 0 where the t test says that it can't."""
    rng = np.random.default_rng(11)
    for shift in (0.0, 0.2, 0.28, 0.3, 0.6):
        base = rng.normal(0.0, 1.0, 50)
        other = base + rng.normal(shift, 1.0, 50)
        t = scipy.stats.ttest_rel(other, base)
        d = cohens_d(base, other, confidence=0.95)
        assert d.value == pytest.approx(t.statistic / math.sqrt(50))
        assert (d.low > 0.0 or d.high < 0.0) == (t.pvalue < 0.05)
        for end, share in ((d.low, 0.975), (d.high, 0.025)):
            assert scipy.stats.nct.cdf(t.statistic, 49, end * math.sqrt(50)) == pytest.approx(share, abs=1e-6)


def test_cohens_d_covers_the_truth() -> None:
    """Intervals of the effect size would be too narrow: 500 samples of 30 pairs with d = 0.5, level 0.9; the standard
    error of the coverage is 0.013 and the bounds are four of them off."""
    rng = np.random.default_rng(12)
    hits = 0
    for _ in range(500):
        d = cohens_d(np.zeros(30), rng.normal(0.5, 1.0, 30), confidence=0.9)
        hits += d.low <= 0.5 <= d.high
    assert 0.846 <= hits / 500 <= 0.954


def test_cohens_d_of_units_and_of_no_spread() -> None:
    """Repeated items would narrow the interval, or equal differences divide by zero."""
    rng = np.random.default_rng(13)
    base, other = rng.random(20), rng.random(20)
    units = np.repeat(np.arange(20), 3).tolist()
    one = cohens_d(base, other, confidence=0.95)
    three = cohens_d(np.repeat(base, 3), np.repeat(other, 3), confidence=0.95, units=units)
    assert (three.value, three.low, three.high) == pytest.approx((one.value, one.low, one.high))
    assert cohens_d(base, base, confidence=0.95).value == 0.0
    assert math.isnan(cohens_d(np.zeros(3), -np.ones(3), confidence=0.95).value), "infinity is no effect size"
    assert math.isnan(cohens_d([1.0], [2.0], confidence=0.95).value)


def test_holm_against_statsmodels() -> None:
    """A strategy would be called better than chance because many were tried."""
    rng = np.random.default_rng(14)
    for n in (2, 7, 40, 140):
        p = dict(zip(map(str, range(n)), rng.random(n) ** 3, strict=True))
        ours = holm(p)
        assert list(ours) == list(p)
        assert list(ours.values()) == pytest.approx(multipletests(list(p.values()), method="holm")[1].tolist())
    assert holm({"a": 0.01, "b": float("nan"), "c": 0.04})["a"] == pytest.approx(0.02)
    with pytest.raises(ValueError, match="must lie in"):
        holm({"a": 1.5})


@pytest.mark.parametrize("n", [5, 40, 600])
def test_detectable_effect_against_statsmodels(n: int) -> None:
    """A sample would be said to show effects that it can't."""
    rng = np.random.default_rng(15)
    difference = rng.normal(0.1, 0.7, n)
    ours = minimum_detectable_effect(np.zeros(n), difference)
    theirs = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    assert ours == pytest.approx(theirs * difference.std(ddof=1), rel=1e-4)


def test_a_sample_without_spread_does_not_say_what_it_could_have_shown() -> None:
    """Two models with no right answer would be said to show a difference of nothing."""
    assert math.isnan(minimum_detectable_effect(np.zeros(30), np.zeros(30)))


def test_the_detectable_effect_is_detected() -> None:
    """The stated power would not be the permutation test's: 400 samples of 50 items in two languages with exactly the
    detectable effect; the test shows it in 0.8 of them, with a standard error of 0.02, bounds four of them off."""
    rng = np.random.default_rng(16)
    units = np.repeat(np.arange(50), 2).tolist()
    shared, own = 0.8, 0.4
    error = math.sqrt((shared**2 + own**2 / 2) / 50)
    effect = TTestPower().solve_power(nobs=50, alpha=0.05, power=0.8, alternative="two-sided") * error * math.sqrt(50)
    shown, stated = 0, []
    for _ in range(400):
        difference = effect + np.repeat(rng.normal(0.0, shared, 50), 2) + rng.normal(0.0, own, 100)
        stated.append(minimum_detectable_effect(np.zeros(100), difference, units=units))
        shown += mean_test(np.zeros(100), difference, draws=999, units=units).p_value <= 0.05
    assert np.mean(stated) == pytest.approx(effect, rel=0.03)
    assert 0.72 <= shown / 400 <= 0.88


def test_a_table_of_comparisons() -> None:
    """Figures of a table would not be those of the single functions, or the corrections miss a strategy."""
    rng = np.random.default_rng(17)
    base = rng.random(60)
    scores = {"random": base, "compass": base + rng.normal(0.3, 0.2, 60), "nearest": base + rng.normal(0.0, 0.2, 60)}
    units = np.repeat(np.arange(20), 3).tolist()
    better, same = compare_paired(scores, "random", draws=2000, seed=3, units=units, runs=[0, 1] * 30)
    assert (better.name, same.name, better.units) == ("compass", "nearest", 20)
    assert better.p_holm == pytest.approx(2 * better.p_value)
    assert better.difference.low > 0.0 > same.difference.low
    assert better.difference.value > better.detectable > 0.0
    assert better.effect == cohens_d(base, scores["compass"], confidence=0.95, units=units)
    assert (better.runs, better.runs_p_holm) == (2, pytest.approx(min(1.0, 2 * better.runs_p_value)))
    assert set(better.to_dict()) >= {"difference", "low", "high", "p_holm", "cohens_d", "detectable"}
    with pytest.raises(ValueError, match="has no scores"):
        compare_paired(scores, "english", seed=0)
    with pytest.raises(ValueError, match="finite"):
        compare_paired({"random": base, "broken": np.full(60, np.nan)}, "random", seed=0)


def test_two_models_that_are_right_on_the_same_rows_are_not_the_same_for_sure() -> None:
    """The interval would be [0, 0]: no difference at all, for certain, after five rows."""
    right = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    (same,) = compare_paired({"a": right, "b": right}, "a", seed=0)
    others = 1.0 - 0.025 ** (1 / 5)
    assert (same.difference.low, same.difference.high) == pytest.approx((-others, others))


def test_difference_between_runs_against_scipy() -> None:
    """Rows would be counted instead of trainings, or a training with more rows would count for more."""
    rng = np.random.default_rng(8)
    runs = np.repeat(np.arange(9), rng.integers(20, 60, 9))
    base = rng.random(len(runs))
    other = base + rng.normal(0.1, 0.2, len(runs)) + rng.normal(0.0, 0.1, 9)[runs]
    interval, p_value = difference_between_runs(base, other, runs.tolist(), confidence=0.9)
    means = [[scores[runs == run].mean() for run in range(9)] for scores in (other, base)]
    theirs = scipy.stats.ttest_rel(*means)
    assert p_value == pytest.approx(theirs.pvalue)
    assert (interval.low, interval.high) == pytest.approx(tuple(theirs.confidence_interval(0.9)))


def test_noisy_trainings_do_not_look_like_a_difference() -> None:
    """Two equal methods whose trainings scatter by ten points differ "significantly" far too often by their rows."""
    rng = np.random.default_rng(9)
    runs, over_rows, over_runs = np.repeat(np.arange(9), 150), 0, 0
    for _ in range(400):
        level = rng.normal(0.5, 0.1, (2, 9))
        base, other = (rng.random((2, len(runs))) < level[:, runs]).astype(float)
        over_rows += scipy.stats.ttest_rel(base, other).pvalue < 0.05
        over_runs += difference_between_runs(base, other, runs.tolist(), confidence=0.95)[1] < 0.05
    assert over_rows > 100
    assert 8 <= over_runs <= 36


def test_trainings_on_shared_items_do_not_look_like_a_difference() -> None:
    """With one test set for all seeds the items' luck is the same in each, and a t test over seeds takes it for sure.

    Items of their own, or none named, give the t test's figures.
    """
    rng = np.random.default_rng(11)
    items = np.tile(np.arange(150), 3)
    runs = np.repeat(np.arange(3), 150)
    own = list(zip(runs.tolist(), items.tolist(), strict=True))
    plain, shared = 0, 0
    for _ in range(400):
        base, other = (np.tile((rng.random(150) < 0.5).astype(float), 3) for _ in range(2))
        for scores in (base, other):
            changed = rng.random(len(scores)) < 0.03
            scores[changed] = 1.0 - scores[changed]
        results = [
            difference_between_runs(base, other, runs.tolist(), confidence=0.95, units=units)
            for units in (None, own, items.tolist())
        ]
        assert results[0][1] == pytest.approx(results[1][1], nan_ok=True)
        assert results[0][0].low == pytest.approx(results[1][0].low, nan_ok=True)
        plain += results[0][1] < 0.05
        shared += results[2][1] < 0.05
    assert plain > 120
    assert shared <= 28


def test_one_pair_of_trainings_and_pairs_that_differ_alike_have_no_interval() -> None:
    """A single training would be called certain, and so would two that happen to differ alike."""
    ones = np.ones(20)
    interval, p_value = difference_between_runs(ones, ones * 0, ["cy"] * 20, confidence=0.95)
    assert interval.value == -1.0
    assert math.isnan(interval.low)
    assert math.isnan(p_value)
    runs = ["cy", "ne"] * 10
    for other in (ones, ones * 0):
        interval, p_value = difference_between_runs(ones, other, runs, confidence=0.95)
        assert [math.isnan(x) for x in (interval.low, interval.high, p_value)] == [True] * 3, (
            "two pairs agree by chance"
        )


def test_two_items_are_compared_as_far_as_they_go() -> None:
    """scipy's non-central t is nan at one degree of freedom: a finished comparison would end in its traceback."""
    (result,) = compare_paired({"a": [1.0, 0.0], "b": [0.0, 0.0]}, "a", seed=0)
    assert (result.difference.value, result.units) == (-0.5, 2)
    assert math.isnan(result.detectable)


def test_nothing_to_test() -> None:
    """Empty denominators would divide by zero."""
    zeros = np.zeros(3)
    assert math.isnan(permutation_test((zeros, zeros), (zeros, np.ones(3)), seed=0).p_value)
    assert math.isnan(minimum_detectable_effect([1.0], [2.0]))
    with pytest.raises(ValueError, match="level"):
        minimum_detectable_effect(zeros, zeros, level=0.9, power=0.5)
