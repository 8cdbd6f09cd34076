"""An engine that sends everything as a cluster would, and works here; and picks that need no model."""

from __future__ import annotations

import dataclasses
import json
import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from compass.config import AdaptConfig
from compass.config.adapt import DataConfig, RunConfig, SelectionConfig, SpaceConfig
from compass.runs import layout
from topics import TOPICS

SAME = (layout.POOL, layout.USAGE, layout.DROPPED, layout.CLEANING, layout.SPACE_WEIGHTS, layout.PICKS)
"""Files of a run that must not depend on where its blocks were worked on."""


@dataclasses.dataclass
class Sent:
    """Each block, the work and each result is pickled; the last block of a window is done first."""

    block_rows: int = 64
    part_bytes: int = 2000
    works: list[str] = dataclasses.field(default_factory=list)
    """What was done, a name for each block."""

    def map(self, work: Callable[[Any], Any], blocks: Iterable[Any]) -> Iterator[Any]:
        sent, window = pickle.dumps(work), [pickle.dumps(block) for block in blocks]
        done = {}
        for place in reversed(range(len(window))):
            self.works.append(getattr(getattr(work, "func", work), "__name__", type(work).__name__))
            done[place] = pickle.dumps(pickle.loads(sent)(pickle.loads(window[place])))
        yield from (pickle.loads(done[place]) for place in range(len(window)))


def write_rows(folder: Path, pool_rows: int = 600) -> None:
    """Write usage, training data and a pool with repeats, near repeats, rows without id, and rows that are dropped."""
    rng = random.Random(0)
    words = ["kitchen", "garden", "morning", "quickly", "please", "tonight", "again", "slowly", "upstairs", "outside"]

    def row(i: int, language: str) -> dict[str, Any]:
        text = f"{rng.choice(TOPICS)} {' '.join(rng.sample(words, 6))} {i}"
        return {"id": f"row-{i}", "prompt": text, "response": f"done {i % 7}", "language": language}

    usage = [row(i, "en") for i in range(40)]
    train = [row(1000 + i, "en") for i in range(10)]
    pool = [row(2000 + i, rng.choice(["de", "fr", "en"])) for i in range(pool_rows)]
    for i in range(0, pool_rows, 20):
        pool[i] = {**pool[i - 1], "id": f"again-{i}"}
        pool[i - 5] = {**pool[i - 4], "id": f"near-{i}", "prompt": pool[i - 4]["prompt"] + "!"}
        pool[i - 7].pop("id")
        pool[i - 9]["response"] = ""
        pool[i - 10] = {"id": f"broken-{i}", "prompt": i, "response": "a number where a text should be"}
    pool[300].pop("id")
    pool[301] = dict(pool[300])
    for name, rows in (("usage", usage), ("train", train), ("pool", pool)):
        lines = "".join(json.dumps(one) + "\n" for one in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def options(folder: Path, output: Path | str, cache: Path, pool: str = "") -> AdaptConfig:
    """Return the options of a selection from these rows."""
    data = DataConfig(
        language="en", usage=str(folder / "usage.jsonl"), train=(str(folder / "train.jsonl"),),
        pool=(pool or str(folder / "pool.jsonl"),), identify_languages=False,
    )  # fmt: skip
    return AdaptConfig(
        run=RunConfig(output_dir=str(output), cache_dir=str(cache)), data=data, space=SpaceConfig(n_clusters=6),
        selection=SelectionConfig(budget=30),
    )  # fmt: skip


def contents(run: Path) -> dict[str, bytes]:
    """Return the files of a run that must not depend on the engine."""
    return {name: (run / name).read_bytes() for name in SAME}
