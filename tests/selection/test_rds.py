"""RDS+ against a plain loop over usage rows."""

from __future__ import annotations

import dataclasses

import numpy as np

from compass.selection import Features, ModelVectors, get_strategy


def test_rds_is_a_round_robin_on_the_models_vectors(make_candidates):
    """Breaks if encoder vectors are used, turns are not kept, a cap holds, or a row is taken twice; reference: each
    usage row in turn takes its most similar row that is left, four times round."""
    rng = np.random.default_rng(0)
    c = make_candidates([3, 2], [1, 1], [30, 30], languages=("en",))

    def rows(n):
        x = rng.normal(size=(n, 7))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    vectors = ModelVectors(rows(5), rows(60))
    c = dataclasses.replace(c, features=Features(model_vectors=vectors))
    selection = get_strategy("rds").select(c, 20, seed=0)
    similarity, taken = vectors.usage @ vectors.pool.T, []
    for _ in range(4):
        for row in similarity:
            taken.append(next(int(i) for i in np.argsort(-row) if i not in taken))
    assert selection.indices.tolist() == taken
    np.testing.assert_allclose(selection.scores, [similarity[i % 5, row] for i, row in enumerate(taken)], rtol=1e-5)
    assert selection.notes == {}
