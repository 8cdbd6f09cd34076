"""Rows per second of the embedded encoder and of the cache. Prints JSON.

OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/encoders.py --rows 256 --cached-rows 200000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compass.encoders import CachedEncoder, FloatArray
from compass.encoders.embedded import EmbeddedEncoder

WORDS = ("turn", "on", "the", "light", "in", "kitchen", "set", "a", "timer", "for", "ten", "minutes", "please")


class RandomEncoder:
    """Rows of the embedded encoder's width at no cost, so that what is measured is the cache."""

    name, revision = "random", "1"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.random.default_rng(len(texts)).standard_normal((len(texts), 384), dtype=np.float32)


def sentences(n: int, words: int, seed: int) -> list[str]:
    """Return n random sentences of so many words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(n)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256, help="Sentences to embed for real, per length.")
    parser.add_argument("--cached-rows", type=int, default=200_000, help="Rows in the cache.")
    arguments = parser.parse_args()
    figures: dict[str, float | int | str] = {"omp_num_threads": os.environ.get("OMP_NUM_THREADS", "")}
    started = time.perf_counter()
    encoder = EmbeddedEncoder()
    encoder.encode(["warm up"])
    figures["load_seconds"] = time.perf_counter() - started
    for words in (6, 20):
        texts = sentences(arguments.rows, words, seed=words)
        started, cpu = time.perf_counter(), time.process_time()
        encoder.encode(texts)
        figures[f"embedded_rows_per_second_{words}_words"] = arguments.rows / (time.perf_counter() - started)
        # the same on a machine that others use at the same time
        figures[f"embedded_rows_per_cpu_second_{words}_words"] = arguments.rows / (time.process_time() - cpu)
    texts = [f"{i} turn on the light in the kitchen" for i in range(arguments.cached_rows)]
    with tempfile.TemporaryDirectory() as folder:
        for what in ("written", "read", "read_again"):
            if what != "read_again":
                cache = CachedEncoder(RandomEncoder(), Path(folder))
            started = time.perf_counter()
            cache.encode(texts)
            figures[f"cache_rows_per_second_{what}"] = arguments.cached_rows / (time.perf_counter() - started)
        started = time.perf_counter()
        for text in texts[:1000]:
            cache.encode([text])
        figures["cache_milliseconds_for_one_row"] = time.perf_counter() - started
    figures["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({key: round(v, 2) if isinstance(v, float) else v for key, v in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
