"""Model servers and a registry for the gateway's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from compass.registry import Registry
from model_servers import FakeVllm
from run_folders import write_run, write_space


@pytest.fixture
def servers() -> list[FakeVllm]:
    """Two servers."""
    return [FakeVllm(), FakeVllm()]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Finished runs: three Welsh and a Greek one."""
    root = tmp_path_factory.mktemp("runs")
    space = write_space(root / "space")
    made = [write_run(root / f"run{seed}", space, seed=seed) for seed in range(3)]
    return [*made, write_run(root / "run3", space, seed=3, language="el")]


@pytest.fixture
def registry(tmp_path: Path, runs: list[Path]) -> Registry:
    """Welsh and Greek, each with its first version in production."""
    registry = Registry(tmp_path / "registry")
    for run, language in ((runs[0], "cy"), (runs[3], "el")):
        registry.register(run)
        registry.promote(language)
    return registry
