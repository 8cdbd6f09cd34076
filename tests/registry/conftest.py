"""Finished run folders, small and written with the package's own writers."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from compass.config import AdaptConfig, dump_config
from compass.registry import Registry
from compass.runs.files import file_hash, write_json, write_text
from compass.runs.folder import Run
from compass.semantic.space import SemanticSpace
from registry_types import MakeRun


def write_run(folder: Path, space: Path, *, seed: int = 0, exact: float = 0.5, language: str = "cy") -> Path:
    """Write a run folder as `compass adapt` leaves it: every file that a version needs, with records and hashes."""
    run = Run(folder)
    config = AdaptConfig()
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, language=language),
        run=dataclasses.replace(config.run, seed=seed),
    )
    write_text(run.path("compass.yaml"), dump_config(config))
    rows = [
        {"id": str(i), "prompt": f"cwestiwn {i}", "response": str(i), "language": "cy" if i % 2 else "en"}
        for i in range(seed, seed + 6)
    ]
    for name in ("data/usage.jsonl", "data/current.jsonl", "selection/selected.jsonl"):
        write_text(run.path(*name.split("/")), "".join(json.dumps(row) + "\n" for row in rows))
    write_json(run.path("selection", "summary.json"), {"strategy": "compass", "picked": 6 + seed})
    with run.stage("space", {"seed": seed}, [folder / "space"]):
        shutil.copytree(space, folder / "space")
    with run.stage("training", {"seed": seed}, [folder / "adapter"]):
        weights = np.random.default_rng(seed).standard_normal((16, 64)).astype(np.float32)
        run.path("adapter", "x")
        save_file({"lora_A": weights}, folder / "adapter" / "adapter_model.safetensors")
        write_json(folder / "adapter" / "adapter_config.json", {"r": 16, "peft_type": "LORA"})
    metrics = {"exact_match": {"value": exact, "low": 0.0, "high": 1.0}}
    write_json(run.path("eval", "adapter", "cy.json"), {"name": "cy", "metrics": metrics})
    hashed = ["data/usage.jsonl", "space/space.safetensors", "adapter/adapter_model.safetensors"]
    write_json(
        run.path("lock.json"),
        {
            "versions": {"compass-peft": "0.1.0"},
            "model": {"name": "tiny", "revision": "1"},
            "hashes": {path: file_hash(folder / path) for path in hashed},
        },
    )
    write_text(run.path("report.html"), "<!DOCTYPE html>")
    run.path("logs", "run.lock").touch()
    return folder


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fitted = SemanticSpace.fit(vectors, ["cy", "en"] * 30, n_clusters=3, seed=0)
    folder = tmp_path_factory.mktemp("space") / "space"
    folder.mkdir()
    fitted.save(folder)
    return folder


@pytest.fixture
def make_run(tmp_path: Path, space: Path) -> MakeRun:
    """Return a function that writes a run folder; each seed is another run."""

    def make(seed: int = 0, **options: Any) -> Path:
        return write_run(tmp_path / "runs" / f"run{seed}", space, seed=seed, **options)

    return functools.cache(make)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry", lock_timeout=20.0)


@pytest.fixture
def three(registry: Registry, make_run: MakeRun) -> Registry:
    """Three versions; the first is in production, the last candidate."""
    registry.register(make_run(0))
    registry.promote("cy")
    registry.register(make_run(1), parent="production", trigger="drift")
    registry.register(make_run(2), parent="1")
    return registry
