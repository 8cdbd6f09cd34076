"""From a pool of text on disk to its picks, with vectors in the cache: what each stage takes, in time and memory.

    OMP_NUM_THREADS=1 python benchmarks/pool.py --rows 200000      # `assist` grammars of all languages
    OMP_NUM_THREADS=1 python benchmarks/pool.py --pool FILE

Vectors come from a stand-in that costs next to nothing, and are embedded before anything is measured, so that the cache
is read as in a second run. Seconds are those of this process, without its workers, and on the clock, which means
something on idle cores alone; the memory is the peak of this process since the stage began.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compass.config import AdaptConfig
from compass.config.adapt import DataConfig, RunConfig, SelectionConfig, SpaceConfig
from compass.data.grammars import assist_languages, assist_sentences
from compass.encoders import CachedEncoder
from compass.recipes import adapt as recipe
from compass.runs.machine import peak_memory, reset_peak_memory
from compass.steps.resources import Resources


class Hashed:
    """Vectors of 200 topics, by the hash of a text."""

    name, revision, chunk_rows = "hashed", "1", 16_384

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.topics, self.noise = rng.standard_normal((200, 384)), rng.standard_normal((4096, 384))

    def encode(self, texts: Sequence[str]) -> Any:
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        parts = np.frombuffer(digests, dtype="<u2").reshape(-1, 4).astype(int)
        rows = self.topics[parts[:, 0] % 200] + self.noise[parts[:, 1] % 4096] + 0.5 * self.noise[parts[:, 2] % 4096]
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def sentences(n: int) -> Iterator[str]:
    """Yield lines of n rows in all languages, in no order."""
    languages = assist_languages()
    lines: list[str] = []
    for language in languages:
        for row in assist_sentences(language, per_intent=max(60, n // 450)):
            lines.append(json.dumps(row.to_dict(), ensure_ascii=False) + "\n")
    random.Random(0).shuffle(lines)
    yield from lines[:n]


def measured(name: str, function: Any) -> Any:
    """Wrap a step of the recipe so that it tells what it took."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        reset_peak_memory()
        start, clock = time.process_time(), time.monotonic()
        result = function(*args, **kwargs)
        print(
            f"{name}: {time.process_time() - start:.1f} s of this process, {time.monotonic() - clock:.1f} s on the "
            f"clock, peak {peak_memory() / 2**30:.2f} GiB",
            flush=True,
        )
        return result

    return wrapper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--budget", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = options.pool or folder / "pool.jsonl"
        if not options.pool:
            with pool.open("w", encoding="utf-8") as file:
                file.writelines(sentences(options.rows))
        cached = CachedEncoder(Hashed(), folder / "cache")
        with pool.open(encoding="utf-8") as file:
            while lines := file.readlines(2**22):
                cached.encode([json.loads(line)["prompt"] for line in lines])
        data = DataConfig(language="cy", usage="assist", train=("assist",), pool=(str(pool),))
        config = AdaptConfig(
            run=RunConfig(output_dir=str(folder / "run"), cache_dir=str(folder / "cache")),
            data=data,
            space=SpaceConfig(n_clusters=options.clusters),
            selection=SelectionConfig(budget=options.budget),
        )
        resources = Resources(dataclasses.replace(config), encoder=CachedEncoder(Hashed(), folder / "cache"))
        for step in ("read_data", "place", "select_rows", "suggest_labels", "write_lock", "build_report"):
            setattr(recipe, step, measured(step, getattr(recipe, step)))
        measured("in all", recipe.select)(config, resources)
        picks = (folder / "run" / "selection" / "selected.jsonl").read_bytes()
        print(f"picks: {hashlib.sha256(picks).hexdigest()[:16]}")


if __name__ == "__main__":
    main()
