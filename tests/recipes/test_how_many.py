"""`--budget auto`: the number found stands in the run's picks, lock and report, and the same run finds it again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compass.config import AUTO, AdaptConfig, load_stored
from compass.data.example import Example
from compass.data.readers import write_jsonl
from compass.errors import SelectionError
from compass.recipes.adapt import select
from compass.runs import layout
from compass.steps.resources import Resources
from topics import TOPICS, TopicEncoder, prompts

KNOWN = 3
"""Topics of the training data, the first ones; usage asks for all six."""


def config_of(folder: Path, *, pool: list[float]) -> AdaptConfig:
    def rows(texts: list[str], tag: str = "cy", response: str = "ok") -> list[Example]:
        return [Example(f"{tag}{i}", f"{text} {tag}", response, tag) for i, text in enumerate(texts)]

    write_jsonl(folder / "usage.jsonl", rows(prompts(90, [1 / 6] * 6, 1), response=""))
    write_jsonl(folder / "train.jsonl", rows(prompts(60, [1 / KNOWN] * KNOWN + [0] * (6 - KNOWN), 2)))
    write_jsonl(folder / "pool.jsonl", [row for tag in ("de", "fr") for row in rows(prompts(60, pool, 3), tag)])
    base = AdaptConfig()
    sources = {name: str(folder / f"{name}.jsonl") for name in ("usage", "train", "pool")}
    return replace(
        base,
        run=replace(base.run, output_dir=str(folder / "run"), cache_dir=str(folder / "cache")),
        data=replace(base.data, usage=sources["usage"], train=(sources["train"],), pool=(sources["pool"],),
                     identify_languages=False, near_duplicates=1.0),
        space=replace(base.space, n_clusters=6, language_removal="none"),
        selection=replace(base.selection, budget=AUTO),
    )  # fmt: skip


def picked(config: AdaptConfig) -> Any:
    encoder: Any = TopicEncoder()
    wrapped = SimpleNamespace(encoder=encoder, encode=encoder.encode, name=encoder.name, revision=encoder.revision)
    return select(config, Resources(config, encoder=wrapped))  # type: ignore[arg-type]


def test_the_budget_is_found_written_down_and_found_again(tmp_path: Path) -> None:
    """Breaks if the number is not that of the picks, is not told, or another one is found for another strategy."""
    config = config_of(tmp_path, pool=[1 / 6] * 6)
    done = picked(config)
    run = tmp_path / "run"
    found, summary, lock = (
        json.loads((run / name).read_text("utf-8")) for name in (layout.HOW_MANY, layout.SELECTION_SUMMARY, layout.LOCK)
    )
    topics = Counter(row.prompt.split()[0] for row in done.examples)
    wanted = sum(topics[topic] for topic in TOPICS[KNOWN:])
    in_pool = sum(row.prompt.split()[0] in TOPICS[KNOWN:] for row in done.data.pool)
    assert wanted > 0.8 * len(done.examples), topics
    assert 0.6 * in_pool < len(done.examples) < 1.3 * in_pool
    assert found["budget"] == found["rows"] == summary["budget"] == lock["budget"]["budget"] == len(done.examples)
    assert f"{found['budget']} examples" in lock["budget"]["why"]
    assert f"Budget auto found {lock['budget']['why']}" in (run / "report.html").read_text("utf-8")
    assert "budget: auto\n" in (run / "compass.yaml").read_text("utf-8")
    assert load_stored(run / "compass.yaml").selection.budget == AUTO

    before = (run / layout.PICKS).read_bytes()
    assert len(picked(config).examples) == len(done.examples)
    assert (run / layout.PICKS).read_bytes() == before
    other = replace(config, selection=replace(config.selection, strategy="random"))
    assert len(picked(other).examples) == len(done.examples), "every strategy gets the same budget"
    picked(replace(config, selection=replace(config.selection, budget=9)))
    assert not (run / layout.HOW_MANY).exists()


def test_where_nothing_helps_it_says_so(tmp_path: Path) -> None:
    """Breaks if a run ends with picks that bring nothing, or with a message that leaves one helpless."""
    config = config_of(tmp_path, pool=[0, 0, 0, 0, 0, 1.0])
    write_jsonl(tmp_path / "usage.jsonl", [Example(f"u{i}", f"lights {i}", "", "cy") for i in range(12)])
    write_jsonl(tmp_path / "train.jsonl", [Example(f"t{i}", f"lights own {i}", "ok", "cy") for i in range(400)])
    with pytest.raises(SelectionError, match=r"nothing to pick: training data alone serves \d+ % .* target-only"):
        picked(config)
