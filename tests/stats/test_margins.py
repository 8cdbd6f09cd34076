"""The paired tests against scipy, published figures, enumeration, and their promised level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, multinomial, ttest_rel

from compass.stats.margins import (
    PairedTest,
    exact_p,
    paired_test,
    rows_needed,
    score_statistic,
    unchanged_rows_needed,
)

FloatArray = np.ndarray


def scores(won: int, lost: int, n: int) -> tuple[FloatArray, FloatArray]:
    """Return right-or-wrong scores before and after with these numbers of changed rows."""
    before, after = np.zeros(n), np.zeros(n)
    after[:won] = 1.0
    before[won : won + lost] = 1.0
    return before, after


def run(before: FloatArray, after: FloatArray, bound: float, **options: object) -> PairedTest:
    """Test at 0.05 with 2,000 draws."""
    return paired_test(before, after, bound, **{"level": 0.05, "draws": 2000, "seed": 0, **options})  # type: ignore[arg-type]


def test_statistic_against_the_published_example() -> None:
    """Tango (1998), section 4: 44 patients, none won, one lost, margin 0.1: Z = 1.709."""
    assert float(score_statistic(0, 1, 44, -0.1)) == pytest.approx(1.709, abs=5e-4)


@pytest.mark.parametrize(
    ("won", "lost", "n", "bound"), [(5, 9, 60, -0.05), (12, 3, 40, 0.1), (0, 4, 30, -0.2), (7, 0, 25, 0.0)]
)
def test_statistic_against_a_numerical_likelihood(won: int, lost: int, n: int, bound: float) -> None:
    """The closed form of the restricted estimate would be wrong."""

    def minus_likelihood(q: float) -> float:
        parts = [(won, q + bound), (lost, q), (n - won - lost, 1 - 2 * q - bound)]
        return -sum(count * np.log(max(p, 1e-300)) for count, p in parts if count)

    inside = (max(0.0, -bound) + 1e-12, (1 - bound) / 2 - 1e-12)
    q = minimize_scalar(minus_likelihood, bounds=inside, method="bounded", options={"xatol": 1e-12}).x
    expected = (won - lost - n * bound) / np.sqrt(n * (2 * q + bound - bound**2))
    assert float(score_statistic(won, lost, n, bound)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("won", "lost", "bound"), [(3, 1, -0.1), (0, 0, -0.2), (6, 1, 0.0), (1, 4, -0.3), (9, 0, 0.3)])
def test_exact_p_against_enumeration(won: int, lost: int, bound: float) -> None:
    """The tail would be summed or maximised wrongly: every outcome of 14 rows, by scipy's multinomial.

    The hypothesis is searched whole, not at its edge alone, so that p holds for smaller differences too.
    """
    n = 14
    outcomes = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    statistic = score_statistic([b for b, _ in outcomes], [c for _, c in outcomes], n, bound)
    observed = float(score_statistic(won, lost, n, bound))
    region = [outcome for outcome, value in zip(outcomes, statistic, strict=True) if value >= observed - 1e-9]
    cells = np.array([(b, c, n - b - c) for b, c in region])

    def tail(p_won: float, p_lost: float) -> float:
        return float(multinomial.pmf(cells, n, [p_won, p_lost, max(0.0, 1 - p_won - p_lost)]).sum())

    edge = max(tail(q + bound, q) for q in np.linspace(max(0.0, -bound), (1 - bound) / 2, 801))
    grid = np.linspace(0.0, 1.0, 41)
    whole = max(tail(a, b) for a in grid for b in grid if a + b <= 1 + 1e-9 and a - b <= bound + 1e-9)
    p = exact_p(won, lost, n, bound)
    assert p == pytest.approx(edge, abs=2e-4)
    assert p >= whole - 1e-6


def test_no_changed_row_has_a_closed_form() -> None:
    """Twenty rows without a change would prove that nothing is lost; they prove a loss below 1 − 0.05^(1/20)."""
    result = run(*scores(0, 0, 20), -0.05)
    assert result.p_above == pytest.approx(0.95**20, abs=1e-6)
    assert result.low == pytest.approx(-(1 - 0.05 ** (1 / 20)), abs=2e-4)
    assert result.high == pytest.approx(-result.low, abs=2e-4)


@pytest.mark.parametrize(("n", "bound"), [(20, -0.1), (40, -0.05), (60, -0.03), (60, 0.0)])
def test_exact_level_for_every_share_of_changed_rows(n: int, bound: float) -> None:
    """Promised: at the margin, wrong at most once in twenty. Here computed, not simulated, from the binomials."""
    rejected = np.zeros((n + 1, n + 1), dtype=bool)
    for won in range(n + 1):
        # p grows with every row lost, so each column is a run of rejections.
        for lost in range(n + 1 - won):
            if score_statistic(won, lost, n, bound) < 1.2 or exact_p(won, lost, n, bound) > 0.05:
                break
            rejected[won, lost] = True
    last = rejected.sum(axis=1) - 1
    won = np.arange(n + 1)
    for q in np.linspace(max(0.0, -bound), (1 - bound) / 2, 200)[:-1]:
        tail = np.where(last >= 0, binom.cdf(last, n - won, q / (1 - q - bound)), 0.0)
        size = float((binom.pmf(won, n, q + bound) * tail).sum())
        assert size <= 0.05 + 1e-4


def test_large_samples_use_the_limit_without_a_jump() -> None:
    small, large = run(*scores(60, 52, 1000), -0.01), run(*scores(60, 52, 1001), -0.01)
    assert (small.method, large.method) == ("exact score test", "score test")
    assert small.p_above == pytest.approx(large.p_above, abs=0.005)
    assert small.low == pytest.approx(large.low, abs=0.002)


@pytest.mark.parametrize(("won", "lost"), [(9, 2), (2, 9), (0, 0), (30, 0), (15, 15)])
def test_limits_agree_with_p(won: int, lost: int) -> None:
    """The table would show an interval that excludes the margin beside a verdict that does not."""
    result = run(*scores(won, lost, 30), 0.0)
    assert -1.0 <= result.low <= result.difference <= result.high <= 1.0
    assert (result.low > 1e-4) <= (result.p_above <= 0.05)
    assert (result.high < -1e-4) <= (result.p_below <= 0.05)
    mirrored = run(*scores(lost, won, 30), 0.0)
    assert (mirrored.p_above, mirrored.low) == (result.p_below, pytest.approx(-result.high))


def test_bootstrap_against_a_t_test() -> None:
    """Where the differences are normal, the studentised bootstrap is the t-test: 20,000 draws leave 0.005."""
    rng = np.random.default_rng(0)
    before = rng.normal(0.0, 3.0, 80)
    after = before + rng.normal(0.1, 0.6, 80)
    result = run(before, after, 0.0, draws=20_000)
    assert result.p_above == pytest.approx(ttest_rel(after, before, alternative="greater").pvalue, abs=0.01)
    assert result.p_below == pytest.approx(ttest_rel(after, before, alternative="less").pvalue, abs=0.01)
    interval = ttest_rel(after, before).confidence_interval(0.9)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), abs=0.01)
    assert result.deviation == pytest.approx((after - before).std(ddof=1))


def test_level_of_the_bootstrap_on_skewed_differences() -> None:
    """Rows that rarely lose much are the hard case: 1,000 simulated sets of 100, true loss exactly the margin.

    Measured 0.015; the standard error at 0.05 is 0.007, and a t-test comes to 0.104 here.
    """
    rng = np.random.default_rng(1)
    wrong = t_wrong = 0
    for i in range(1000):
        before = rng.uniform(0.5, 1.0, 100)
        after = before + rng.normal(0.0, 0.02, 100) - np.where(rng.random(100) < 0.06, 0.5, 0.0)
        result = run(before, after, -0.03, draws=300, seed=i)
        wrong += result.p_above <= 0.05
        t_wrong += ttest_rel(after + 0.03, before, alternative="greater").pvalue <= 0.05
    assert wrong / 1000 <= 0.065
    assert t_wrong > wrong


def test_rows_of_one_unit_count_once() -> None:
    """One item asked in ten languages would count as ten items: the level would be several times what is promised."""
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(40), 10).tolist()
    by_unit = by_row = 0
    for i in range(150):
        change = np.repeat(rng.choice([-1.0, 0.0, 1.0], 40, p=[0.3, 0.4, 0.3]), 10)
        before = np.where(change < 0, 1.0, 0.0)
        after = before + change
        by_unit += run(before, after, 0.0, draws=300, seed=i, units=units).p_above <= 0.05
        by_row += exact_p(int((change > 0).sum()), int((change < 0).sum()), 400, 0.0) <= 0.05
    assert by_unit / 150 <= 0.11
    assert by_row / 150 > 0.2
    once = run(before, after, 0.0, units=list(range(400)))
    assert once == run(before, after, 0.0)


def test_a_limit_is_a_difference_that_can_be() -> None:
    """One item of forty that changes in one of its two rows would give a lower limit of -1e298."""
    before, units = np.tile([0.0, 1.0], 40), np.repeat(np.arange(40), 2).tolist()
    after = before.copy()
    after[1] = 0.0
    test = paired_test(before, after, -0.05, level=0.05, draws=2000, seed=0, units=units)
    assert (test.low, test.method) == (-1.0, "studentised bootstrap over units")
    test = paired_test(after, before, -0.05, level=0.05, draws=2000, seed=0, units=units)
    assert test.high == 1.0


def test_rows_without_any_spread() -> None:
    """All differences equal: no resample has a spread, and yet ten rows prove little, and unbounded scores nothing."""
    flat = np.linspace(0.2, 0.8, 10)
    few, many = run(flat, flat, -0.05), run(np.tile(flat, 20), np.tile(flat, 20), -0.05)
    assert few.p_above == pytest.approx(0.95**10)
    assert few.low == pytest.approx(-(1 - 0.05**0.1))
    assert many.p_above < 0.05 < few.p_above
    unbounded = run(flat * 9, flat * 9, -0.05)
    assert unbounded.p_above == 1.0
    assert unbounded.low == -np.inf


def test_rows_needed_reach_the_power() -> None:
    """The advice would name too few rows: simulated at the number that is named, 400 times."""
    n = int(rows_needed(0.5, 0.1, level=0.05, power=0.8))
    assert n == 155
    rng = np.random.default_rng(3)
    found = sum(
        ttest_rel(rng.normal(0.1, 0.5, n), np.zeros(n), alternative="greater").pvalue <= 0.05 for _ in range(400)
    )
    assert found / 400 == pytest.approx(0.8, abs=0.06)
    assert unchanged_rows_needed(0.02, 0.05) == 149
    assert 0.98**149 <= 0.05 < 0.98**148
    assert rows_needed(0.5, 0.0, level=0.05, power=0.8) == unchanged_rows_needed(0.0, 0.05) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(np.zeros(3), np.zeros(2), 0.0), "of one length above 0"),
        (lambda: run(np.zeros(0), np.zeros(0), 0.0), "of one length above 0"),
        (lambda: run(np.array([np.nan]), np.zeros(1), 0.0), "must be finite"),
        (lambda: run(np.zeros(2), np.zeros(2), 0.0, units=["a"]), "each of the 2 rows; got 1"),
        (lambda: exact_p(3, 3, 5, 0.0), "counts within n"),
        (lambda: exact_p(1, 1, 5, -1.0), "between -1 and 1"),
    ],
)
def test_what_does_not_fit(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
