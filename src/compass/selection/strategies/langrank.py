"""LangRank: transfer languages ranked by a model that has learnt from transfer results (Lin et al. 2019, 1905.12688).

LambdaRank over six URIEL distances and eight statistics of the two languages' data. The published models were trained
on other tasks and are not installable, so the model is trained here, from results such as `compass compare` writes: for
pairs of languages, how well training on the one served the other. Results for the target language itself are left out
(leave one language out), so that it is ranked as a language that nobody has tried.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from compass.errors import MissingExtraError, SelectionError
from compass.selection.audit import finish
from compass.selection.caps import DEFAULT_CAPS, Caps
from compass.selection.features import TransferResult, required
from compass.selection.protocol import Candidates, Selection, parameter
from compass.selection.strategies.langsim import CATEGORIES, LIFTED, fill_by_language, language_scores
from compass.semantic.arrays import RealArray

STATISTICS = (
    "word_overlap",
    "subword_overlap",
    "transfer_size",
    "target_size",
    "size_ratio",
    "transfer_ttr",
    "target_ttr",
    "ttr_distance",
)
FEATURES = (*STATISTICS, *CATEGORIES)
"""Features of a pair in the model's order; LightGBM takes a missing one as missing."""
TREES = 100
LEAVES = 16
"""Of each tree, both as in the paper."""
RELEVANT = 10
"""The best ten sources of a target have relevance 10 to 1, the others 0, as in the paper."""
LEAF_ROWS = 5
"""Least pairs in a leaf [ours]: the default of 20 is more than most targets have."""
LEAST_TARGETS = 3
"""Other targets with at least two sources each that a model is trained from [ours]."""


@dataclass(frozen=True)
class LangRank:
    """Rows of the best-ranked languages, best first, `language_cap` of the budget each; random draws within each."""

    name: ClassVar[str] = "langrank"
    language_removal: ClassVar[str | None] = None
    needs: ClassVar[frozenset[str]] = frozenset({"typology", "text_statistics", "transfer_results"})

    transfer_results: str = parameter("", "JSONL of transfer results to learn from, as `compass compare` writes it.")
    caps: Caps = DEFAULT_CAPS

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows.

        Raises SelectionError if there are too few transfer results to learn from, MissingExtraError without LightGBM.
        """
        features = candidates.features
        typology = required(features.typology, "typology", self.name)
        statistics = required(features.text_statistics, "text_statistics", self.name)
        results = required(features.transfer_results, "transfer_results", self.name)
        ranker = train_ranker(results, candidates.target_language, seed=seed)

        rows = Counter(candidates.pool_languages)
        languages = sorted(rows)
        pairs = [
            pair_features({**statistics.get(language, {}), **typology.distances.get(language, {})})
            for language in languages
        ]
        predicted = dict(zip(languages, np.asarray(ranker.predict(np.array(pairs))).tolist(), strict=True))
        scores = language_scores(candidates, predicted)
        filled = fill_by_language(candidates, scores, budget, self.caps, seed)
        ranks = {language: 1 + sum(other > predicted[language] for other in predicted.values()) for language in rows}
        reasons = [
            f"{candidates.pool_languages[row]} is no. {ranks[candidates.pool_languages[row]]} of {len(rows)} languages "
            f"by learnt transfer (score {scores[row]:.2f})" + (f"; {LIFTED}" if lifted else "")
            for row, lifted in zip(filled.indices.tolist(), filled.lifted, strict=True)
        ]
        return finish(
            self.name,
            candidates,
            budget,
            indices=filled.indices,
            scores=scores[filled.indices],
            reasons=reasons,
            notes=filled.notes,
        )


def pair_features(known: Mapping[str, float]) -> list[float]:
    """Return the features of a pair in the model's order, nan where one is not known."""
    return [float(known.get(name, math.nan)) for name in FEATURES]


def train_ranker(results: Sequence[TransferResult], target: str, *, seed: int) -> Any:
    """Train LambdaRank on the results of other targets. Returns a LightGBM booster, the same for the same seed.

    Raises SelectionError if fewer than LEAST_TARGETS other targets have two sources or nothing can be learnt from
    them, MissingExtraError.
    """
    try:
        import lightgbm
    except ImportError as error:
        raise MissingExtraError("lightgbm", "langrank", "Strategy 'langrank'") from error
    groups: dict[str, list[TransferResult]] = defaultdict(list)
    for result in results:
        # Regions and scripts of one language are no other language.
        if result.target.split("-")[0] != target.split("-")[0]:
            groups[result.target].append(result)
    usable = [sorted(group, key=lambda r: r.source) for _, group in sorted(groups.items()) if len(group) > 1]
    if len(usable) < LEAST_TARGETS:
        raise SelectionError(
            f"Strategy 'langrank' learns from transfer results of at least {LEAST_TARGETS} languages other than "
            f"{target!r} with two source languages each; got {len(usable)} in {len(results)} results. Name a file of "
            "them: --strategy langrank:transfer_results=FILE (`compass compare` writes one), or try --strategy langsim."
        )
    data = lightgbm.Dataset(
        np.array([pair_features(result.features) for group in usable for result in group]),
        label=np.concatenate([relevance([result.score for result in group]) for group in usable]),
        group=[len(group) for group in usable],
        feature_name=list(FEATURES),
    )
    parameters = {
        "objective": "lambdarank",
        "num_leaves": LEAVES,
        "min_data_in_leaf": LEAF_ROWS,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    ranker = lightgbm.train(parameters, data, num_boost_round=TREES)
    if not any(ranker.feature_importance()):
        pairs = sum(map(len, usable))
        raise SelectionError(
            f"Strategy 'langrank' has learnt nothing from {pairs} transfer results of {len(usable)} languages other "
            f"than {target!r}: no tree found a split with {LEAF_ROWS} results on either side. Give it more results "
            "(of more source languages, above all), or try --strategy langsim."
        )
    return ranker


def relevance(scores: Sequence[float]) -> RealArray:
    """Return the relevance of a target's sources: RELEVANT for the best, one less for each place, at least 0."""
    values = np.asarray(scores, dtype=np.float64)
    places = (values[None, :] > values[:, None]).sum(axis=1)
    found: RealArray = np.maximum(RELEVANT - places, 0).astype(np.float64)
    return found
