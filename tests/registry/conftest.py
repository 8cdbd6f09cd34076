"""A registry, and finished run folders for it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from compass.registry import Registry
from run_folders import MakeRun, write_run, write_space


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_space(tmp_path_factory.mktemp("space") / "space")


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
