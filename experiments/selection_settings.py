"""Whether a strategy holds where nobody tuned it: shares of needed picks in twenty settings; nothing is trained.

    python experiments/selection_settings.py --languages fi hi --seeds 2
    python experiments/selection_settings.py --languages cy el --settings "unseen 1/4" base --strategies compass tsds

As `selection_quality`, with everything that its settings hold fixed varied one at a time: how much usage there is, what
part of it the training data covers, with how many rows, how rare needs are in the pool, its languages, and free text.
Needed are intents of usage of which the training data has at most a few rows; `share` is the part of 240 picks on them,
`reached` the part of the needed intents with a pick. Where the pool has few needed rows, not even all are 240.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from selection_quality import POOL, POOL_ROWS, Draw, by_intent, place, with_free_text

from compass.config import AdaptConfig
from compass.encoders import load_encoder
from compass.selection import Candidates, get_strategy
from compass.semantic.arrays import IntArray

BUDGET, CLUSTERS = 240, 48


@dataclass(frozen=True)
class Setting:
    """One way in which usage, training data and pool lie to each other."""

    needed: int = 6
    """Needed intents in usage."""
    usage_rows: int = 6
    """Usage rows of each; with `zipf` of the first, the second half as many and so on."""
    zipf: bool = False
    own_rows: int = 2
    """Training rows of each."""
    known: int = 6
    """Intents that the training data covers."""
    known_usage: int = 0
    """Usage rows of each."""
    known_rows: int = 60
    """Training rows of them, together."""
    share: float = 0.1
    """Of the pool that is needed."""
    languages: int = 20
    """Of the pool."""
    free_text: float = 0.0
    """Share of responses that are free text."""


SETTINGS: dict[str, Setting] = {
    "base": Setting(),
    "little usage": Setting(usage_rows=2),
    "much skewed usage": Setting(usage_rows=30, zipf=True),
    "no training data": Setting(own_rows=0, known_rows=0),
    "much training data": Setting(known=20, known_rows=400),
    "2 % of the pool needed": Setting(share=0.02),
    "60 % of the pool needed": Setting(share=0.6),
    "2 languages": Setting(languages=2),
    "all unseen": Setting(own_rows=0),
    "unseen 1/2": Setting(own_rows=0, known_usage=6),
    "unseen 1/3": Setting(own_rows=0, needed=3, known_usage=6),
    "unseen 1/4": Setting(own_rows=0, needed=2, known_usage=6),
    "unseen 1/4, twice as many": Setting(own_rows=0, needed=4, usage_rows=12, known=12, known_usage=12, known_rows=200),
    "unseen 1/7": Setting(own_rows=0, needed=1, known_usage=6),
    "2 own rows, 1/4": Setting(needed=2, known_usage=6),
    "2 own rows, 1/7": Setting(needed=1, known_usage=6),
    "1 own row, 1/2": Setting(own_rows=1, known_usage=6),
    "8 own rows, 1/2": Setting(own_rows=8, known_usage=6),
    "half free text": Setting(free_text=0.5),
    "all free text": Setting(free_text=1.0),
}


def draw(language: str, seed: int, setting: Setting, pool_tags: Sequence[str] = POOL) -> Draw:
    """Draw the three sets of one language and seed; `pool_tags`: languages that the pool may be of."""
    rng = random.Random(f"stress/{language}/{seed}")
    tags = [tag for tag in pool_tags if tag != language][: setting.languages]
    own, others = by_intent(language), {tag: by_intent(tag) for tag in tags}
    spread = Counter(intent for groups in others.values() for intent in groups)
    possible = sorted(i for i, rows in own.items() if len(rows) >= 20 and spread[i] * 2 >= len(tags))
    needed = rng.sample(possible, setting.needed)
    usage, current, rest, pool = [], [], [], []
    for place_, intent in enumerate(needed):
        rows = rng.sample(own[intent], len(own[intent]))
        n = max(2, round(setting.usage_rows / (place_ + 1))) if setting.zipf else setting.usage_rows
        usage += rows[:n]
        current += rows[n : n + setting.own_rows]
    known = sorted(i for i, rows in own.items() if i not in needed and len(rows) >= 6)
    rng.shuffle(known)
    for intent in known[: setting.known]:
        rows = rng.sample(own[intent], len(own[intent]))
        usage += rows[: setting.known_usage]
        rest += rows[setting.known_usage :]
    current += rng.sample(rest, min(setting.known_rows, len(rest)))
    for groups in others.values():
        relevant = [row for intent in needed for row in groups.get(intent, [])]
        other = [row for intent, rows in sorted(groups.items()) if intent not in needed for row in rows]
        total = min(POOL_ROWS, int(len(other) / (1 - setting.share)))
        n = min(len(relevant), round(total * setting.share))
        pool += rng.sample(relevant, n) + rng.sample(other, min(total - n, len(other)))
    drawn = Draw(needed, usage, current, pool)
    return with_free_text(drawn, setting.free_text, whole_intents=False) if setting.free_text else drawn


def picks_of_needs(data: Draw, candidates: Candidates, strategy: str, seed: int) -> IntArray:
    """Return how many of the picks are of each needed intent."""
    picks = get_strategy(strategy).select(candidates, BUDGET, seed).indices
    labels = Counter(data.pool[i].label for i in picks)
    return np.array([labels[intent] for intent in data.needed])


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["fi", "hi"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--strategies", nargs="+", default=["random", "nearest", "crisp", "tsds", "compass"])
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compass")
    options = parser.parse_args(given)
    encoder = load_encoder(AdaptConfig().encoder, options.cache)
    print("| setting | " + " | ".join(f"{name}: share, reached" for name in options.strategies) + " |")
    print("| --- " * (1 + len(options.strategies)) + "|")
    for name in options.settings:
        found: dict[str, list[tuple[float, float]]] = {strategy: [] for strategy in options.strategies}
        for language in options.languages:
            for seed in range(options.seeds):
                data = draw(language, seed, SETTINGS[name])
                candidates = place(data, language, encoder, "within-cluster", CLUSTERS, seed)
                for strategy in options.strategies:
                    counts = picks_of_needs(data, candidates, strategy, seed)
                    found[strategy].append((counts.sum() / BUDGET, float((counts > 0).mean())))
        cells = (np.mean(values, axis=0) for values in found.values())
        print(f"| {name} | " + " | ".join(f"{share:.2f}, {reached:.2f}" for share, reached in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
