"""A ten-line encoder for tests that counts what it is asked for, also runnable as a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from compass.encoders import CachedEncoder, FloatArray


class HashEncoder:
    """Rows drawn from a generator that is seeded by the text: any row can be checked without the cache."""

    def __init__(self, name: str = "hash", revision: str = "1", dimension: int = 8, seconds: float = 0.0) -> None:
        self.name, self.revision, self.dimension, self.seconds = name, revision, dimension, seconds
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.asked.extend(texts)
        time.sleep(self.seconds * len(texts))
        return expected(texts, self.dimension)


def expected(texts: Sequence[str], dimension: int = 8) -> FloatArray:
    """The rows that HashEncoder must give, computed apart from it."""
    rows = np.empty((len(texts), dimension), dtype=np.float32)
    for i, text in enumerate(texts):
        seed = int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little")
        row = np.random.default_rng(seed).standard_normal(dimension)
        rows[i] = row / np.linalg.norm(row)
    return rows


def main(folder: str, begin: str, end: str, seconds: str, chunk_rows: str, log: str) -> None:
    """Embed the texts begin..end into the cache; write each text that had to be embedded to `log`; check all rows."""

    class Logging(HashEncoder):
        def encode(self, texts: Sequence[str]) -> FloatArray:
            with Path(log).open("a", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for text in texts)
            return super().encode(texts)

    texts = [f"text {i}" for i in range(int(begin), int(end))]
    encoder = CachedEncoder(Logging(seconds=float(seconds)), Path(folder), chunk_rows=int(chunk_rows))
    np.testing.assert_allclose(encoder.encode(texts), expected(texts), atol=1e-6)


if __name__ == "__main__":
    main(*sys.argv[1:])
