"""What the gate is asked about: which of a version's tests play which role."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np

import compass.recipes.promotion as promotion


def test_roles_go_by_the_tests_names(tmp_path, monkeypatch):
    """Breaks if an earlier period is taken for the last one, or another language's test can stop a promotion."""
    (tmp_path / "data").mkdir()
    (tmp_path / "eval" / "parent").mkdir(parents=True)
    names = ["cy", "cy-10", "cy-2", "en-GB", "de", "english", "own-test"]
    (tmp_path / "data" / "tests.json").write_text(json.dumps(names), "utf-8")
    scores = SimpleNamespace(scores=SimpleNamespace(exact=np.array([True, False])))
    monkeypatch.setattr(promotion, "read_evaluation", lambda path: scores)
    candidate = SimpleNamespace(id="b", parent="a", language="cy", folder=tmp_path)
    found = promotion.held_out_sets(candidate, SimpleNamespace(id="a"))
    assert {held_out.name: held_out.role for held_out in found} == {
        "cy": "new-usage", "cy-10": "old-usage", "cy-2": "period", "en-GB": "english", "english": "english"
    }  # fmt: skip
    assert found[0].before.tolist() == [1.0, 0.0]
