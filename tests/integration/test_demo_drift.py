"""The whole loop with a real update, on a tiny random model: the demo of drift, and its pieces on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from compass.registry import Registry
from forked import run_script
from small_data import Files
from tiny_model import make_tiny_model

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[2] / "experiments" / "demo_drift.py"


def test_the_demo_runs_from_steady_usage_to_the_gate(files: Files, tmp_path: Path) -> None:
    """A model that knows nothing gains nothing: no alarm first, then drift, a real update, and a refusal on record."""
    sizes = {"prompts": 300, "rows": 20, "budget": 16, "steps": 2, "max_new_tokens": 4, "pool_rows": 250}
    model = make_tiny_model(tmp_path / "model")
    options = ["--run", str(tmp_path / "none"), "--work", str(tmp_path / "drift")]
    options += ["--model_name_or_path", str(model), *(part for k, v in sizes.items() for part in (f"--{k}", str(v)))]
    environment = {**os.environ, "COMPASS_CACHE": str(files.cache), "HF_HUB_OFFLINE": "1"}
    done = run_script(SCRIPT, options, environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 alarms in 300 prompts" in done.stdout
    assert "drift in cy after" in done.stdout
    assert "Nothing was promoted" in done.stdout

    registry = Registry(tmp_path / "drift" / "registry")
    first, second = registry.versions("cy")
    assert (second.parent, second.trigger) == (first.id, "drift")
    assert (registry.aliases("cy").current, registry.aliases("cy").candidate) == (first.id, "")
    assert all(check.ok for check in registry.verify("cy"))
    kinds = [event.kind for event in registry.events("cy")]
    assert kinds[-2:] == ["update", "refusal"]
    assert set(kinds[:-2]) == {"drift"}
    decision = registry.events("cy")[-1].details["decision"]
    roles = {test["name"]: test["role"] for test in decision["tests"]}
    assert roles == {"cy": "new-usage", "cy-0": "old-usage", "english": "english"}
    lock = json.loads((second.folder / "lock.json").read_text("utf-8"))
    assert lock["update"]["method"] == "replay"
    assert lock["parent"]["adapter"] == first.files["adapter/adapter_model.safetensors"][0]
    assert second.id in (tmp_path / "drift" / "watch" / "status.html").read_text("utf-8")
    assert not list((tmp_path / "drift" / "watch" / "cy").glob("update-*"))
