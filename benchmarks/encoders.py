"""Rows per second of the embedded encoder and of the cache, and which share of the machine's limit. Prints JSON.

OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/encoders.py --rows 256 --cached-rows 200000

The limit is that of one layer's product by itself, for all that an encoder of this shape multiplies. All figures are of
processor time, and the best of three, for a machine that others use at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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


def flops_per_token(length: int, width: int = 384, inner: int = 1536, layers: int = 12) -> int:
    """Return the additions and multiplications of a token in a text of so many tokens."""
    projections = 4 * width * width + 2 * width * inner
    return 2 * layers * (projections + 2 * width * length)


def best_seconds(work: Callable[[], object], times: int = 3) -> float:
    """Return the processor time of a piece of work, the least of several."""
    seconds = []
    for _ in range(times):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def product_rates(rows: int = 512, width: int = 384, inner: int = 1536) -> dict[str, float]:
    """Return the GFLOP/s of a product as large as that of a batch with the largest matrix of a layer."""
    import torch

    rates = {}
    for dtype in (torch.float32, torch.bfloat16, torch.int8):
        left = torch.randint(-9, 9, (rows, width)).to(dtype)
        right = torch.randint(-9, 9, (width, inner)).to(dtype)
        product = torch._int_mm if dtype == torch.int8 else torch.mm

        def many(product: Any = product, left: Any = left, right: Any = right) -> None:
            for _ in range(20):
                product(left, right)

        name = str(dtype).removeprefix("torch.")
        rates[f"product_gflops_{name}"] = 20 * 2 * rows * width * inner / best_seconds(many) / 1e9
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256, help="Sentences to embed for real, per length.")
    parser.add_argument("--cached-rows", type=int, default=200_000, help="Rows in the cache.")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"omp_num_threads": os.environ.get("OMP_NUM_THREADS", "")}
    started = time.process_time()
    encoder = EmbeddedEncoder()
    encoder.encode(["warm up"])
    figures["load_cpu_seconds"] = time.process_time() - started
    for words in (6, 20):
        texts = sentences(arguments.rows, words, seed=words)
        tokens = [len(found) + 2 for found in encoder._load()._tokens(texts)]
        seconds = best_seconds(lambda texts=texts: encoder.encode(texts))
        figures[f"rows_per_cpu_second_{words}_words"] = arguments.rows / seconds
        figures[f"tokens_a_row_{words}_words"] = sum(tokens) / len(tokens)
        figures[f"embedded_gflops_{words}_words"] = sum(n * flops_per_token(n) for n in tokens) / seconds / 1e9
    figures |= product_rates()
    for words in (6, 20):
        share = figures[f"embedded_gflops_{words}_words"] / figures[f"product_gflops_{encoder.engine.split('-')[2]}"]
        figures[f"share_of_the_limit_{words}_words"] = share
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
