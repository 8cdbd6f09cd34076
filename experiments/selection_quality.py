"""How much of a budget each strategy spends on what usage needs, and how evenly; nothing is trained.

    python experiments/selection_quality.py --languages cy ne zh-CN el is hi ga tr th ar --seeds 3

For each language and seed six intents of `assist` are drawn as needed. Usage: 6 rows of each (and, in the setting
`mixed`, 6 rows of each of six intents that the training data knows). Training data: 2 rows of each needed intent and 60
of six others. Pool: 20 other languages, 313 rows each, a given share of them of needed intents. Labels are used to
measure and never reach a strategy. Columns, mean ± standard deviation over languages of the mean over seeds:

share: picks on needed intents. covered: the same, but no intent counts for more than a sixth of the budget. scarcest:
picks on the worst-served needed intent, as a part of its sixth. gaps filled: gap clusters with supply that got a pick.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compass.config import AdaptConfig
from compass.data.assist import assist_sentences
from compass.data.classes import number_classes
from compass.data.example import Example
from compass.encoders import Encoder, load_encoder
from compass.selection import Candidates, Selection, Strategy, build_candidates, get_strategy
from compass.selection.audit import cluster_gap
from compass.semantic import SemanticSpace
from compass.steps.features import read_features
from compass.steps.resources import Resources
from compass.steps.state import RunData

POOL = ("ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "hi", "hu", "it", "ko", "nl", "pl",
        "pt", "ro", "ru", "sv", "tr", "uk", "vi")  # fmt: skip
POOL_LANGUAGES, POOL_ROWS, PER_INTENT, NEEDED = 20, 313, 40, 6
SETTINGS = {"common": (0.22, False), "scarce": (0.10, False), "mixed": (0.10, True)}
"""Share of needed intents in the pool, and whether usage also holds intents that are known already."""
STRATEGIES = ("random", "compass-paper", "nearest", "compass")
"""What the docs' first tables hold; --strategies takes any others, with parameters: `compass:class_quotas=false`."""


@dataclass(frozen=True)
class Draw:
    needed: list[str]
    usage: list[Example]
    current: list[Example]
    pool: list[Example]


def by_intent(language: str, per_intent: int = PER_INTENT) -> dict[str, list[Example]]:
    """Return a language's sentences by intent."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in assist_sentences(language, per_intent=per_intent):
        groups[example.label].append(example)
    return groups


def draw(language: str, seed: int, share: float, mixed: bool) -> Draw:
    """Draw the three sets of one language and seed."""
    rng = random.Random(f"{language}/{seed}")
    tags = [tag for tag in POOL if tag != language][:POOL_LANGUAGES]
    own, others = by_intent(language), {tag: by_intent(tag) for tag in tags}
    spread = Counter(intent for groups in others.values() for intent in groups)
    possible = sorted(i for i, rows in own.items() if len(rows) >= 8 and spread[i] * 2 >= len(tags))
    needed = rng.sample(possible, NEEDED)
    usage: list[Example] = []
    current: list[Example] = []
    for intent in needed:
        rows = rng.sample(own[intent], 8)
        usage += rows[:6]
        current += rows[6:]
    known = sorted(i for i in own if i not in needed)
    rng.shuffle(known)
    rest = [row for intent in sorted(known[:6]) for row in own[intent]]
    current += rng.sample(rest, min(60, len(rest)))
    if mixed:
        taken = {row.id for row in current}
        for intent in known[:6]:
            left = [row for row in own[intent] if row.id not in taken]
            usage += rng.sample(left, min(6, len(left)))
    pool: list[Example] = []
    for groups in others.values():
        relevant = [row for intent in needed for row in groups.get(intent, [])]
        other = [row for intent, rows in sorted(groups.items()) if intent not in needed for row in rows]
        total = min(POOL_ROWS, int(len(other) / (1 - share)))
        n = min(len(relevant), round(total * share))
        pool += rng.sample(relevant, n) + rng.sample(other, min(total - n, len(other)))
    return Draw(needed, usage, current, pool)


def with_free_text(data: Draw, share: float, *, whole_intents: bool) -> Draw:
    """Give a part of the rows a response of their own, which is free text: rows at random, or all rows of an intent."""

    def respond(row: Example) -> Example:
        what = row.label if whole_intents else row.id
        if random.Random(f"free text/{what}").random() >= share:
            return row
        return dataclasses.replace(row, response=f"Certainly, this was done as you asked, see note {row.id}.")

    current, pool = ([respond(row) for row in rows] for rows in (data.current, data.pool))
    return dataclasses.replace(data, current=current, pool=pool)


def place(data: Draw, language: str, encoder: Encoder, removal: str, n_clusters: int, seed: int) -> Candidates:
    """Fit a space on one draw and gather what strategies may see."""
    sets = (data.usage, data.current, data.pool)
    vectors = [encoder.encode([row.prompt for row in rows]) for rows in sets]
    tags = [[row.language for row in rows] for rows in sets]
    every_tag = [tag for part in tags for tag in part]
    space = SemanticSpace.fit(
        np.concatenate(vectors), every_tag, language_removal=removal, n_clusters=n_clusters, seed=seed
    )
    train_classes, pool_classes = number_classes(data.current, data.pool)
    return build_candidates(
        space,
        usage=vectors[0],
        train=vectors[1],
        pool=vectors[2],
        usage_languages=tags[0],
        train_languages=tags[1],
        pool_languages=tags[2],
        target_language=language,
        train_classes=train_classes,
        pool_classes=pool_classes,
    )


def figures(data: Draw, candidates: Candidates, selection: Selection) -> list[float]:
    """Return share, covered, scarcest, gaps filled and the number of picks."""
    labels = Counter(data.pool[i].label for i in selection.indices)
    counts = np.array([labels[intent] for intent in data.needed], dtype=float)
    sixth = selection.budget / len(data.needed)
    open_gaps = (cluster_gap(candidates) > 0) & (selection.supply > 0)
    return [
        counts.sum() / selection.budget,
        np.minimum(counts, sixth).sum() / selection.budget,
        counts.min() / sixth,
        float((selection.picked[open_gaps] > 0).mean()) if open_gaps.any() else 1.0,
        float(len(selection.indices)),
    ]


def with_needs(candidates: Candidates, strategy: Strategy, data: Draw, cache: Path) -> Candidates:
    """Add what a strategy needs besides vectors and clusters."""
    sets = RunData(tuple(data.usage), tuple(data.current), tuple(data.pool), {})
    features = read_features(
        strategy,
        sets,
        target_language=candidates.target_language,
        base=lambda: Resources(AdaptConfig()).base,
        cache_dir=cache,
    )
    return dataclasses.replace(candidates, features=features)


def measure(
    encoder: Encoder,
    languages: Sequence[str],
    seeds: int,
    budget: int,
    n_clusters: int,
    names: Sequence[str],
    cache: Path,
    free_text: float = 0.0,
    whole_intents: bool = False,
) -> None:
    """Run every cell and print a table for each setting, then the share by language."""
    for setting, (share, mixed) in SETTINGS.items():
        found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
        for language in languages:
            for seed in range(seeds):
                data = with_free_text(draw(language, seed, share, mixed), free_text, whole_intents=whole_intents)
                spaces = {r: place(data, language, encoder, r, n_clusters, seed) for r in ("within-cluster", "none")}
                for name in names:
                    strategy = get_strategy(name)
                    candidates = spaces[strategy.language_removal or "within-cluster"]
                    candidates = with_needs(candidates, strategy, data, cache)
                    selection = strategy.select(candidates, budget, seed)
                    found[name, language].append(figures(data, candidates, selection))
        print(f"\n{setting}: {share:.0%} of the pool needed{', usage half known' if mixed else ''}\n")
        print("| strategy | share | covered | scarcest | gaps filled | picks | " + " | ".join(languages) + " |")
        print("| --- " * (6 + len(languages)) + "|")
        for name in names:
            means = np.array([np.mean(found[name, language], axis=0) for language in languages])
            cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(means.mean(axis=0)[:3], means.std(axis=0)[:3], strict=True)]
            cells += [f"{means[:, 3].mean():.2f}", f"{means[:, 4].mean():.0f}"]
            cells += [f"{row[0]:.2f} / {row[1]:.2f}" for row in means]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print("\nBy language: share / covered.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and measure with the embedded encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--languages", nargs="+", default=["cy", "ne", "zh-CN", "el", "is", "hi", "ga", "tr", "th", "ar"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=240)
    parser.add_argument("--clusters", type=int, default=48)
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--free-text", type=float, default=0.0, help="share of rows whose response is free text")
    parser.add_argument("--whole-intents", action="store_true", help="that share of the intents, with all their rows")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compass")
    options = parser.parse_args(arguments)
    encoder = load_encoder(AdaptConfig().encoder, options.cache)
    measure(
        encoder, options.languages, options.seeds, options.budget, options.clusters, options.strategies, options.cache,
        options.free_text, options.whole_intents,
    )  # fmt: skip


if __name__ == "__main__":
    main()
