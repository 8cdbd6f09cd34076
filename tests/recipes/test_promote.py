"""What the gate is asked about: which of a version's tests play which role."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

import compass.recipes.promote as promotion
from compass.data.example import Example
from compass.errors import RegistryError


def test_roles_go_by_the_tests_names(tmp_path, monkeypatch):
    """Breaks if an earlier period is taken for the last one, or another language's test can stop a promotion."""
    (tmp_path / "data").mkdir()
    (tmp_path / "eval" / "parent").mkdir(parents=True)
    names = ["cy", "cy-10", "cy-2", "en-GB", "de", "english", "own-test"]
    (tmp_path / "data" / "tests.json").write_text(json.dumps(names), "utf-8")
    rows = (Example("0", "same", "x", "cy"), Example("1", "same", "x", "cy"))
    scores = SimpleNamespace(scores=SimpleNamespace(exact=np.array([True, False])), examples=rows)
    monkeypatch.setattr(promotion, "read_evaluation", lambda path: scores)
    weights = "adapter/adapter_model.safetensors"
    (tmp_path / "lock.json").write_text(json.dumps({"parent": {"adapter": "aaaa"}}), "utf-8")
    candidate = SimpleNamespace(id="b", parent="a", language="cy", folder=tmp_path)
    found = promotion.held_out_sets(candidate, SimpleNamespace(id="a", files={weights: ("aaaa", 1)}, folder=tmp_path))
    assert {held_out.name: held_out.role for held_out in found} == {
        "cy": "new-usage", "cy-10": "old-usage", "cy-2": "period", "en-GB": "english", "english": "english"
    }  # fmt: skip
    assert found[0].before.tolist() == [1.0, 0.0]
    assert found[0].units == ["same", "same"]
    # Whoever registered it may have named the version that serves, and trained it from another.
    serving = SimpleNamespace(id="a", files={weights: ("bbbb", 1)}, folder=tmp_path)
    with pytest.raises(RegistryError, match="measured against another adapter"):
        promotion.held_out_sets(candidate, serving)
