"""What each part of `compass` is worth, one changed at a time; nothing is trained.

    python experiments/ablations.py --seeds 3

The draws and columns are those of `selection_quality.py`, whose `common` pool it is unless said otherwise: each row of
the table is the same draws with one thing changed, and its difference to the first row, paired over languages and seeds
with languages resampled whole. Figures are means over languages and seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from selection_quality import SETTINGS, Draw, by_intent, draw, figures, place

from compass.config import AdaptConfig
from compass.encoders import Encoder, load_encoder
from compass.records import Interval
from compass.selection import Candidates, Caps, Selection, Strategy, get_strategy
from compass.selection.audit import finish
from compass.selection.quotas import training_worth, water_filling
from compass.selection.round_robin import Requests, round_robin
from compass.semantic.arrays import nearest_mean_similarity, row_keys
from compass.semantic.distributions import histogram, shares
from compass.stats import paired_difference

BUDGET, N_CLUSTERS = 240, 48
COLUMNS = ("share", "covered", "scarcest", "gaps filled")
OWN_SENTENCES = 400
"""Sentences of an intent that larger usage samples are drawn from, at most."""


@dataclass(frozen=True)
class ClusterQuotas:
    """The gap split over clusters by water-filling, rows within a cluster at random or by closeness to usage."""

    name: ClassVar[str] = "cluster-quotas"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    nearest: bool

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together."""
        k = candidates.n_clusters
        usage = shares(histogram(candidates.usage_clusters, k))
        train = training_worth(histogram(candidates.train_clusters, k), candidates.mean_cost)
        if self.nearest:
            scores = nearest_mean_similarity(candidates.pool, candidates.usage, 3)
        else:
            scores = row_keys(candidates.pool, seed).astype(float)
        order = np.argsort(-scores, kind="stable").astype(np.int64)
        rows = tuple(order[candidates.pool_clusters[order] == cluster] for cluster in range(k))
        quotas = water_filling(usage, train, candidates.supply, budget)
        own = tuple(scores[members].astype(np.float32) for members in rows)
        picks = round_robin(candidates, Requests(np.arange(k), rows, own, quotas, quotas), budget, Caps())
        demand = water_filling(usage, train, np.full(k, budget), budget).astype(float)
        return finish(
            self.name, candidates, budget, indices=picks.indices, scores=picks.scores,
            reasons=[""] * len(picks.indices), demand=demand, notes=picks.notes,
        )  # fmt: skip


@dataclass(frozen=True)
class Forgetful:
    """`compass` that sees no training data: every usage row asks for the same, and nobody says what it expects."""

    name: ClassVar[str] = "forgetful"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset()

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together."""
        classes = candidates.train_classes
        forgotten = dataclasses.replace(
            candidates,
            train=candidates.train[:0],
            train_clusters=candidates.train_clusters[:0],
            train_classes=None if classes is None else classes[:0],
        )
        return get_strategy("compass").select(forgotten, budget, seed)


@dataclass(frozen=True)
class Variant:
    """One changed part."""

    name: str
    strategy: Strategy = field(default_factory=lambda: get_strategy("compass"))
    removal: str = "within-cluster"
    n_clusters: int = N_CLUSTERS
    usage: int = 0
    """Usage rows over the needed intents; 0: the draw's own 36."""
    off_topic: float = 0.0
    """Part of the usage rows that ask for what the test does not ask for."""


VARIANTS = (
    Variant("compass"),
    Variant("no language removal", removal="none"),
    Variant("plain mean of each language removed", removal="mean"),
    *(Variant(f"K = {k}", n_clusters=k) for k in (12, 24, 96, 192)),
    Variant("K chosen by silhouette and stability", n_clusters=0),
    Variant("no class quotas: each usage row is its own class", get_strategy("compass:class_quotas=false")),
    Variant("near duplicates kept", get_strategy("compass", Caps(duplicate_similarity=1.0))),
    Variant("near duplicates from .90", get_strategy("compass", Caps(duplicate_similarity=0.90))),
    Variant("no cap of languages", get_strategy("compass", Caps(language_cap=1.0))),
    Variant("training data forgotten", Forgetful()),
    Variant("cluster quotas, uniform within", ClusterQuotas(nearest=False)),
    Variant("cluster quotas, nearest within", ClusterQuotas(nearest=True)),
    Variant("no turns: nearest rows", get_strategy("nearest")),
    *(Variant(f"usage sample of {n}", usage=n) for n in (20, 50, 100, 300)),
    *(Variant(f"{p} % off-topic usage", off_topic=p / 100) for p in (25, 50, 75)),
)


@cache
def cell(language: str, seed: int, setting: str, usage: int, off_topic: float) -> Draw:
    """Return a draw with another usage sample."""
    data = draw(language, seed, *SETTINGS[setting])
    if not usage and not off_topic:
        return data
    rng = random.Random(f"{language}/{seed}/usage")
    own = by_intent(language, OWN_SENTENCES)
    held = {row.prompt for row in data.current}
    rows = [row for row in data.usage if row.label in data.needed]
    if usage:
        quota = [usage // len(data.needed) + (i < usage % len(data.needed)) for i in range(len(data.needed))]
        fresh = {i: [row for row in own[i] if row.prompt not in held] for i in data.needed}
        rows = [
            row for n, i in zip(quota, data.needed, strict=True) for row in rng.sample(fresh[i], min(n, len(fresh[i])))
        ]
    if off_topic:
        # Other people's usage: intents that neither the test nor the training data has.
        known = {row.label for row in data.current}
        spread = {row.label for row in data.pool}
        others = [row for i, found in sorted(own.items()) if i not in known and i in spread for row in found[:40]]
        n = round(off_topic * len(rows))
        rows = [*rng.sample(rows, len(rows) - n), *rng.sample(others, min(n, len(others)))]
    return dataclasses.replace(data, usage=rows)


def run(variant: Variant, encoder: Encoder, language: str, seed: int, setting: str) -> list[float]:
    """Return the figures of one variant on one draw."""
    data = cell(language, seed, setting, variant.usage, variant.off_topic)
    candidates = placed(encoder, language, seed, setting, variant)
    selection = variant.strategy.select(candidates, BUDGET, seed)
    return figures(data, candidates, selection)


_placed: dict[tuple[Any, ...], Candidates] = {}


def placed(encoder: Encoder, language: str, seed: int, setting: str, variant: Variant) -> Candidates:
    """Place a draw, once for all variants that share its space."""
    key = (language, seed, setting, variant.usage, variant.off_topic, variant.removal, variant.n_clusters)
    if key not in _placed:
        data = cell(*key[:5])
        _placed[key] = place(data, language, encoder, variant.removal, variant.n_clusters, seed)
    return _placed[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--languages", nargs="+", default=["cy", "ne", "zh-CN", "el", "is", "hi", "ga", "tr", "th", "ar"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--setting", choices=tuple(SETTINGS), default="common")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compass")
    arguments = parser.parse_args()
    encoder = load_encoder(AdaptConfig().encoder, arguments.cache)
    found: dict[str, list[list[float]]] = {variant.name: [] for variant in VARIANTS}
    cells = [(language, seed) for language in arguments.languages for seed in range(arguments.seeds)]
    for language, seed in cells:
        for variant in VARIANTS:
            found[variant.name].append(run(variant, encoder, language, seed, arguments.setting))
        _placed.clear()
        print(f"{language} {seed} done", flush=True)
    units = [language for language, _ in cells]
    print(f"\n{arguments.setting}; {len(arguments.languages)} languages, {arguments.seeds} seeds\n")
    print("| changed | " + " | ".join(COLUMNS) + " | share, difference | covered, difference |")
    print("| --- " * (len(COLUMNS) + 3) + "|")
    first = np.array(found["compass"])
    for name, values in found.items():
        own = np.array(values)
        shown = [f"{value:.2f}" for value in own[:, : len(COLUMNS)].mean(axis=0)]
        if name != "compass":
            shown += [difference(first[:, i], own[:, i], units) for i in range(2)]
        else:
            shown += ["", ""]
        print(f"| {name} | " + " | ".join(shown) + " |")


def difference(before: Any, after: Any, units: Sequence[str]) -> str:
    ones = np.ones(len(before))
    found: Interval = paired_difference(
        (before, ones), (after, ones), draws=5_000, confidence=0.95, seed=0, units=units
    )
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


if __name__ == "__main__":
    main()
