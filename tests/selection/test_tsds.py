"""TSDS against a linear program, and its density correction against copies."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.optimize import linprog

from compass.selection import Features, get_strategy
from compass.selection.strategies import tsds
from compass.selection.strategies.tsds import kernel_density, transport


def solve(distances, density, alpha, scale):
    """Return the optimum of the paper's problem by a general solver: gamma (M, N) and the objective.

    Variables: gamma row by row, then t = max rho gamma; minimise alpha / C d gamma + (1 - alpha) M t.
    """
    m, n = distances.shape
    cost = np.append(alpha / scale * distances.ravel(), (1 - alpha) * m)
    below = np.hstack([np.diag(np.tile(density, m)), -np.ones((m * n, 1))])
    sums = np.hstack([np.kron(np.eye(m), np.ones(n)), np.zeros((m, 1))])
    found = linprog(cost, A_ub=below, b_ub=np.zeros(m * n), A_eq=sums, b_eq=np.full(m, 1 / m))
    return found.x[:-1].reshape(m, n), found.fun


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_transport_is_optimal(seed, alpha):
    """Breaks if depth, masses or the density's part are not the paper's optimum; reference: scipy's linear program."""
    rng = np.random.default_rng(seed)
    m, n = 4, 14
    full, density = rng.uniform(0.1, 1.4, (m, n)), rng.uniform(1.0, 3.0, n)
    order = np.argsort(full, axis=1)
    distances = np.take_along_axis(full, order, axis=1)
    found = transport(distances, density[order], alpha=alpha, scale=1.0)
    gamma = np.zeros((m, n))
    np.put_along_axis(gamma, order, found.mass, axis=1)
    reference, objective = solve(full, density, alpha, 1.0)
    np.testing.assert_allclose(gamma.sum(axis=1), 1 / m)
    ours = alpha * (gamma * full).sum() + (1 - alpha) * m * (gamma * density).max()
    assert ours == pytest.approx(objective, rel=1e-9)
    np.testing.assert_allclose(gamma, reference, atol=1e-8)


def test_density_by_hand():
    """Breaks if the kernel is another: two equal rows, one at a right angle to them, and one at d^2 = 0.28125, half of
    sigma^2, from the first two."""
    cosine = 1 - 0.28125 / 2
    rows = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [cosine, 0, np.sqrt(1 - cosine**2)]], dtype=np.float32)
    np.testing.assert_allclose(kernel_density(rows, rows), [2.5, 2.5, 1.0, 2.0], atol=1e-5)


def test_copies_share_one_part(make_candidates):
    """Breaks if near duplicates are drawn as if they were different. Ten copies of the usage row and eleven rows at a
    cosine of 0.7 to it, further from each other than sigma: by hand, the ten get one twelfth of the mass together, and
    all of it without the correction; plain neighbours take the ten first."""
    others = np.hstack([np.full((11, 1), 0.7), np.sqrt(1 - 0.7**2) * np.eye(11)])
    pool = np.concatenate([np.repeat(np.eye(12)[:1], 10, axis=0), others]).astype(np.float32)
    c = dataclasses.replace(
        make_candidates([1], [0], [21]), usage=np.eye(12, dtype=np.float32)[:1], pool=pool, features=Features()
    )
    nearest = get_strategy("nearest").select(c, 10, seed=0)
    assert set(nearest.indices.tolist()) == set(range(10))
    distances = np.sqrt(np.maximum(2 - 2 * (c.usage @ c.pool.T).astype(np.float64), 0))
    density = kernel_density(c.pool, c.pool)[None]
    np.testing.assert_allclose(density, [[10] * 10 + [1] * 11], rtol=1e-5)
    assert transport(distances, density, alpha=0.2).mass[0, :10].sum() == pytest.approx(1 / 12, rel=1e-5)
    assert transport(distances, np.ones((1, 21)), alpha=0.2).mass[0, :10].sum() == pytest.approx(1.0)
    picked = [get_strategy("tsds").select(c, 6, seed=seed).indices for seed in range(60)]
    assert np.mean(np.array(picked) < 10) < 0.25


def test_more_budget_than_mass_goes_on_in_depth(make_candidates):
    """Breaks if a budget is left unspent although the pool has rows, or far rows come before near ones."""
    c = make_candidates([3, 0], [0, 0], [30, 30], noise=0.2)
    selection = get_strategy("tsds").select(c, 40, seed=0)
    assert selection.spent == 40
    assert selection.picked.tolist() == [30, 10]
    later = np.array([reason.startswith("next in depth") for reason in selection.reasons])
    assert later.any()
    assert not later[: np.argmax(later)].any()
    assert later[np.argmax(later) :].all()


def test_depth_goes_from_near_to_far(make_candidates):
    """Breaks if what follows the rows with mass comes in another order than a deeper transport would reach it: for one
    usage row that is from near to far."""
    c = make_candidates([1, 0], [0, 0], [30, 30], noise=0.3)
    selection = get_strategy("tsds").select(c, 50, seed=0)
    later = [row for row, score in zip(selection.indices, selection.scores, strict=True) if score == 0]
    assert len(later) > 20
    cosines = (c.pool @ c.usage.T)[later, 0]
    assert (np.diff(cosines) <= 0).all()


@pytest.mark.parametrize("budget", [40, 300, 2000])
def test_densities_are_computed_of_near_rows_alone(make_candidates, monkeypatch, budget):
    """Breaks if computing densities as the transport needs them changes a pick or a mass, or if all are computed."""
    c = make_candidates([6, 6], [0, 0], [900, 900], noise=1.0)
    asked = []
    density = tsds.kernel_density
    monkeypatch.setattr(tsds, "kernel_density", lambda rows, over: asked.append(len(rows)) or density(rows, over))
    near = get_strategy("tsds").select(c, budget, seed=1)
    monkeypatch.setattr(tsds, "FIRST_NEIGHBOURS", tsds.MOST_NEIGHBOURS)
    whole = get_strategy("tsds").select(c, budget, seed=1)
    np.testing.assert_array_equal(near.indices, whole.indices)
    np.testing.assert_allclose(near.scores, whole.scores, rtol=1e-5)
    assert asked[-1] == 1800
    if budget == 40:
        assert sum(asked[:-1]) < 900


@pytest.mark.parametrize("budget", [40, 300])
def test_rows_are_put_in_order_once(make_candidates, monkeypatch, budget):
    """Breaks if rows are sorted for lists that turn out too short, where neither transport nor budget has ended."""
    c = make_candidates([6, 6], [0, 0], [900, 900], noise=1.0)
    sorted_, lists, in_order, transported = [], [], tsds._in_order_of_draw, tsds.transport
    monkeypatch.setattr(tsds, "FIRST_NEIGHBOURS", 2)
    monkeypatch.setattr(tsds, "_in_order_of_draw", lambda *args: sorted_.append(1) or in_order(*args))
    monkeypatch.setattr(tsds, "transport", lambda *args: lists.append(1) or transported(*args))
    assert get_strategy("tsds").select(c, budget, seed=1).spent == budget
    assert len(lists) > 3
    assert len(sorted_) == 1


def test_a_sample_stands_for_all_rows(make_candidates, monkeypatch):
    """Breaks if the density over a sample is not that over all rows on average, or a row in the sample counts more.
    Bound: a density of 50 rests on some 12 rows of the sample, and the mean over 1,600 rows strays by 2 %."""
    c = make_candidates([6], [0], [1600], noise=0.15)
    whole = tsds.kernel_density(c.pool, c.pool)
    monkeypatch.setattr(tsds, "KERNEL_ROWS", 400)
    order = np.random.default_rng(0).permutation(1600)
    part = tsds.Density(c.pool, order).of(np.arange(1600))
    assert whole.mean() > 50
    assert np.mean(part) == pytest.approx(whole.mean(), rel=0.05)
    assert np.corrcoef(part, whole)[0, 1] > 0.95
    inside = np.isin(np.arange(1600), order[:400])
    assert np.mean(part[inside] / whole[inside]) == pytest.approx(np.mean(part[~inside] / whole[~inside]), rel=0.05)
