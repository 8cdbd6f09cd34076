"""LESS on a case that is worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from compass.selection import Features, Gradients, get_strategy


def test_the_best_subtask_decides(make_candidates):
    """Two clusters of usage pull in two directions. Breaks if a row is scored by the mean over all usage, which would
    take the rows between them (0 and 1), if rows without a response count, or if turns are taken."""
    c = make_candidates([2, 2], [0, 0], [3, 3], languages=("en",))
    usage = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0, 1]], dtype=np.float32)
    root = np.float32(np.sqrt(0.5))
    pool = np.array(
        [[root, 0, root], [0, root, root], [0.8, 0.6, 0], [1, 0, 0], [0, 0, 1], [-1, 0, 0]], dtype=np.float32
    )
    gradients = Gradients(usage, np.array([0, 1, 3]), pool)
    c = dataclasses.replace(c, features=Features(gradients=gradients))
    selection = get_strategy("less").select(c, 4, seed=0)
    # The first cluster's mean gradient is (0.8, 0.4, 0), of length sqrt(0.8); the second's is (0, 0, 1).
    expected = {4: 1.0, 2: 0.88 / np.sqrt(0.8), 3: 0.8 / np.sqrt(0.8), 0: root, 1: root}
    assert selection.indices[:3].tolist() == [4, 2, 3]
    assert selection.indices[3] in (0, 1)
    np.testing.assert_allclose(selection.scores, [expected[i] for i in selection.indices.tolist()], rtol=1e-5)
    assert selection.notes == {"usage rows without a response, left out": 1}
