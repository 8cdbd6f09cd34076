"""Products in bfloat16 decide nothing that float32 would decide otherwise."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from compass.semantic import products
from compass.semantic.arrays import nearest_mean_similarity, unit_rows
from compass.semantic.kmeans import assign_nearest
from compass.semantic.products import Cosines


@pytest.fixture
def rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have bfloat16 used for few rows, and on any processor."""
    monkeypatch.setattr(products, "FAST_ROWS", 1)
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda: True)


def rows(n: int, seed: int, spread: float = 1.0) -> np.ndarray:
    """Return unit rows around one direction: the smaller the spread, the closer together."""
    rng = np.random.default_rng(seed)
    return unit_rows(1.0 + spread * rng.standard_normal((n, 48)))


@pytest.mark.usefixtures("rounded")
@pytest.mark.parametrize("spread", [8.0, 1.0, 0.2, 0.01])
def test_the_nearest_is_that_of_float32(spread: float) -> None:
    """Breaks if rounding decides: rows far from each other, and rows that bfloat16 can't tell apart."""
    x, fixed = rows(3000, 0, spread), rows(60, 1, spread)
    fixed[40:] = fixed[20:40]
    cosines = Cosines(fixed, len(x))
    np.testing.assert_array_equal(cosines.nearest(x), assign_nearest(x, fixed))
    for k in (1, 5, 60):
        expected = nearest_mean_similarity(x, fixed, k)
        np.testing.assert_allclose(cosines.mean_of_nearest(x, k), expected, atol=1e-6)
    assert cosines.nearest(np.zeros((2, 48), dtype=np.float32)).tolist() == [0, 0]
    assert len(cosines.nearest(x[:0])) == len(cosines.mean_of_nearest(x[:0], 3)) == 0


@pytest.mark.usefixtures("rounded")
def test_no_cosine_is_further_off_than_the_margin() -> None:
    """Breaks if the margin is no bound; numbers half way between two of bfloat16 are rounded the furthest."""
    x, fixed = rows(200, 0), rows(50, 1)
    half = (x.view(np.uint32) & np.uint32(0xFFFF0000) | np.uint32(0x7FFF)).view(np.float32)
    half /= max(1.0, float(np.linalg.norm(half, axis=1).max()))
    cosines = Cosines(np.concatenate([fixed, half]), len(x))
    for own in (x, half):
        exact = own.astype(np.float64) @ cosines.fixed.astype(np.float64).T
        assert 0 < np.abs(cosines.of(own) - exact).max() < cosines.margin < 0.02


def test_few_rows_and_other_processors_use_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if torch is loaded for nothing, or a processor that is slower with bfloat16 uses it."""
    x, fixed = rows(30, 0), rows(5, 1)
    for slow, n in ((False, products.FAST_ROWS - 1), (True, products.FAST_ROWS)):
        monkeypatch.setattr(products, "multiplies_bfloat16", lambda slow=slow: not slow)
        cosines = Cosines(fixed, n)
        assert cosines.margin == 0.0
        np.testing.assert_array_equal(cosines.of(x), x @ fixed.T)


@pytest.mark.usefixtures("rounded")
def test_a_worker_goes_by_its_own_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a worker whose processor is slower with bfloat16 uses it because the sender's is not."""
    sent = Cosines(rows(5, 1), products.FAST_ROWS)
    assert pickle.loads(pickle.dumps(sent)).margin == sent.margin > 0
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda: False)
    here = pickle.loads(pickle.dumps(sent))
    assert here.margin == 0.0
    np.testing.assert_array_equal(here.fixed, sent.fixed)
