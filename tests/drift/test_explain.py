from __future__ import annotations

import json

import numpy as np
import pytest

from compass.drift import Explanation, explain
from compass.drift.explain import divergence_parts
from compass.semantic import jensen_shannon_divergence


def test_parts_sum_to_the_divergence():
    """Breaks if a cluster's part is not its term: the sum must be scipy's value, and no part negative."""
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(30))
    p[3] = q[5] = 0.0
    p, q = p / p.sum(), q / q.sum()
    parts = divergence_parts(p, q)
    assert parts.min() >= 0
    assert parts.sum() == pytest.approx(jensen_shannon_divergence(p, q))


def test_names_what_grew_and_what_shrank():
    """Breaks if clusters are ranked or signed wrongly, or texts of one side are shown for the other."""
    found = explain(
        np.array([50, 30, 20, 0]),
        np.array([10, 30, 22, 38]),
        names=["lights", "timers", "music", "vacuum"],
        reference_examples={0: ["turn on the light"], 3: ["never shown"]},
        window_examples={3: ["start the vacuum"], 0: ["never shown"]},
    )
    assert [shift.name for shift in found.grew] == ["vacuum", "music"]
    assert [shift.name for shift in found.shrank] == ["lights"]
    assert found.grew[0].examples == ("start the vacuum",)
    assert found.shrank[0].examples == ("turn on the light",)
    assert found.grew[0].change == pytest.approx(0.38)
    assert sum(shift.contribution for shift in (*found.grew, *found.shrank)) + found.unlisted == pytest.approx(1.0)
    assert found.sentences()[0].startswith("vacuum: from 0.0 % to 38.0 %")
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["grew"][0]["cluster"] == 3
    assert Explanation.from_dict(stored) == found


def test_no_difference_has_nothing_to_tell():
    """Breaks if equal shares divide by zero."""
    found = explain(np.array([5, 5]), np.array([50, 50]))
    assert (found.grew, found.shrank, found.unlisted, found.divergence) == ((), (), 0.0, 0.0)
