"""Run folders as the recipes leave them, small: one builder of their parts for the tests of every room."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from compass.config import AdaptConfig, dump_config
from compass.runs.files import file_hash, write_json, write_text
from compass.runs.folder import Run
from compass.semantic import SemanticSpace
from topics import TOPICS, TopicEncoder, prompts

MakeRun = Callable[..., Path]
"""Writes a run folder; each seed is another run."""


def write_options(folder: Path, *, language: str = "", seed: int = 0) -> None:
    """Write the resolved options, all but these at their defaults."""
    config = AdaptConfig()
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, language=language or config.data.language),
        run=dataclasses.replace(config.run, seed=seed),
    )
    write_text(folder / "compass.yaml", dump_config(config))


def write_adapter(folder: Path, seed: int) -> None:
    """Write an adapter of random weights; each seed is another."""
    weights = np.random.default_rng(seed).standard_normal((16, 64)).astype(np.float32)
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    save_file({"lora_A": weights}, folder / "adapter" / "adapter_model.safetensors")
    write_json(folder / "adapter" / "adapter_config.json", {"r": 16, "peft_type": "LORA"})


def write_space(folder: Path) -> Path:
    """Fit a small space to random vectors and write it; return its folder."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder.mkdir(parents=True)
    SemanticSpace.fit(vectors, ["cy", "en"] * 30, n_clusters=3, seed=0).save(folder)
    return folder


def write_topic_space(folder: Path) -> None:
    """Fit a space to prompts of six topics, a cluster each, and write it with the topics as names, into a run."""
    encoder = TopicEncoder()
    texts = prompts(400, [1 / 6] * 6, 0)
    space = SemanticSpace.fit(encoder.encode(texts), ["cy"] * 400, language_removal="none", n_clusters=6, seed=0)
    space.save(folder / "space")
    labels = space.assign(encoder.encode([f"{topic} x" for topic in TOPICS]), ["cy"] * 6).tolist()
    topics = [TOPICS[labels.index(k)] for k in range(6)]
    names = [{"cluster": k, "name": topic, "terms": [], "examples": [f"{topic} old"]} for k, topic in enumerate(topics)]
    (folder / "space" / "clusters.json").write_text(json.dumps(names))


def write_run(folder: Path, space: Path, *, seed: int = 0, exact: float = 0.5, language: str = "cy") -> Path:
    """Write a run folder as `compass adapt` leaves it: every file that a version needs, with records and hashes."""
    run = Run(folder)
    write_options(folder, language=language, seed=seed)
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
        write_adapter(folder, seed)
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


def as_version(folder: Path) -> Path:
    """Return where a run folder is one of a version of a registry in `folder`; it is not made."""
    home = folder / "registry" / "cy" / "versions" / "v0001-abcdef"
    home.mkdir(parents=True)
    (home / "manifest.json").write_text("{}")
    return home / "run"
