"""What a strategy may look at, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from compass.config import SelectionConfig
from compass.errors import DataError, SelectionError
from compass.selection.features import Extras
from compass.semantic.arrays import FloatArray, IntArray, RealArray
from compass.semantic.space import SemanticSpace


@dataclass(frozen=True, eq=False)
class Candidates:
    """The whole view of a strategy: vectors, clusters, languages, costs, kinds of answer; never a text or a model."""

    usage: FloatArray
    """(n_E, d) unit rows in the space's language-free form: what users ask for."""
    current: FloatArray
    """(n_D, d) unit rows: the data at hand; may be empty."""
    pool: FloatArray
    """(n_A, d) unit rows: what can be picked."""
    usage_clusters: IntArray
    current_clusters: IntArray
    pool_clusters: IntArray
    n_clusters: int
    extras: Extras = field(default=Extras(), kw_only=True)
    """What the strategy names in `needs`."""
    pool_languages: Sequence[str]
    """n_A BCP-47 tags."""
    pool_costs: IntArray
    """(n_A,) what a row takes of the budget: 1 in examples, its length in tokens."""
    target_language: str
    current_answers: IntArray | None = None
    """(n_D,) kind of each row's answer, the same number for the same kind, -1 for an answer of no kind."""
    pool_answers: IntArray | None = None
    """(n_A,) the same for the pool, in the same numbers."""

    def __post_init__(self) -> None:
        """Raise DataError if the arrays do not fit together."""
        dimensions = self.pool.shape[1] if self.pool.ndim == 2 else None
        for name in ("usage", "current", "pool"):
            vectors, clusters = getattr(self, name), getattr(self, f"{name}_clusters")
            if vectors.ndim != 2 or vectors.shape[1] != dimensions:
                raise DataError(f"candidates: {name} has shape {vectors.shape}, expected (n, {dimensions}).")
            if len(vectors) != len(clusters):
                raise DataError(f"candidates: {name} has {len(vectors)} vectors and {len(clusters)} clusters.")
            if len(clusters) and (clusters.min() < 0 or clusters.max() >= self.n_clusters):
                raise DataError(f"candidates: a cluster of {name} lies outside 0 to {self.n_clusters - 1}.")
        if (self.current_answers is None) != (self.pool_answers is None):
            raise DataError(
                "candidates: kinds of answer are given for one of data at hand and pool; give both or none."
            )
        if self.current_answers is not None and len(self.current_answers) != len(self.current):
            raise DataError(
                f"candidates: the data at hand has {len(self.current)} rows and {len(self.current_answers)} answers."
            )
        answers = self.pool if self.pool_answers is None else self.pool_answers
        for name, length in (
            ("languages", len(self.pool_languages)),
            ("costs", len(self.pool_costs)),
            ("answers", len(answers)),
        ):
            if length != len(self.pool):
                raise DataError(f"candidates: the pool has {len(self.pool)} rows and {length} {name}.")
        self.extras.check(len(self.usage), len(self.pool))
        if len(self.pool_costs) and self.pool_costs.min() < 1:
            raise DataError(f"candidates: a pool row costs {self.pool_costs.min()}; each row costs at least 1.")

    @property
    def mean_cost(self) -> float:
        """What a pool row takes of the budget on average; rows at hand, which have no cost, are counted at it."""
        return float(np.mean(self.pool_costs)) if len(self.pool_costs) else 1.0

    @property
    def least_cost(self) -> int:
        """What the pool's shortest row takes of the budget: with less left, nothing can be picked any more."""
        return int(self.pool_costs.min(initial=np.iinfo(np.int64).max))


@dataclass(frozen=True, eq=False)
class AnswerAccount:
    """What usage asks of each kind of answer and what it gets; (G,) each."""

    kinds: IntArray
    """Their numbers, as in `Candidates`."""
    expected: RealArray
    """Share of usage that is expected to ask for it; an estimate, for usage has no answers."""
    at_hand: IntArray
    """Rows at hand."""
    supply: IntArray
    """What the pool holds of it, in units of the budget like the next two."""
    quotas: IntArray
    picked: IntArray


@dataclass(frozen=True, eq=False)
class Selection:
    """What was picked, in order of rank, why, and what could not be had."""

    strategy: str
    budget: int
    budget_unit: str
    """`examples` or `tokens`: the unit of budget, spent, shortfall, demand, supply, picked and unmet."""
    indices: IntArray
    """(m,) rows of the pool, best first."""
    scores: RealArray
    """(m,) what the strategy ranked them by."""
    clusters: IntArray
    """(m,) cluster of each pick."""
    reasons: tuple[str, ...]
    """(m,) why each row was picked, in plain words."""
    demand: RealArray
    """(K,) what each cluster asks for: its quota if the pool had no end."""
    supply: IntArray
    """(K,) what the pool holds of each cluster."""
    picked: IntArray
    """(K,) what was picked of it."""
    unmet: RealArray
    """(K,) demand that was not met."""
    spent: int
    shortfall: int
    """Budget that could not be spent on anything the strategy wants."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """Rows that a cap held back or that were taken in spite of it: what happened -> rows."""
    answers: AnswerAccount | None = None
    """Where the budget was split over kinds of answer."""


class Strategy(Protocol):
    """A rule that picks pool rows. Add one in a file of its own and name it in the registry."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    @property
    def language_removal(self) -> str | None:
        """Removal that the strategy needs of its space; None takes the configured one."""
        ...

    def select(self, candidates: Candidates, budget: int, *, seed: int, options: SelectionConfig) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        ...


def build_candidates(
    space: SemanticSpace,
    *,
    usage: FloatArray,
    current: FloatArray,
    pool: FloatArray,
    current_languages: Sequence[str],
    usage_languages: Sequence[str],
    pool_languages: Sequence[str],
    target_language: str,
    pool_costs: IntArray | None = None,
    current_answers: IntArray | None = None,
    pool_answers: IntArray | None = None,
) -> Candidates:
    """Place encoder vectors in a space and gather what strategies may see. vectors: (n, d) as the encoder gave them.

    pool_costs None: each row costs 1. answers: see `Candidates`. Raises DataError if lengths or dimensions differ,
    SelectionError if usage or pool is empty.
    """
    for name, rows in (("usage sample", usage), ("pool", pool)):
        if not len(rows):
            raise SelectionError(
                f"The {name} is empty: nothing can be selected. Check its source and what cleaning dropped."
            )
    d = space.dimensions
    parts = {
        name: space.transform(np.reshape(vectors, (-1, d)) if not len(vectors) else vectors, languages)
        for name, vectors, languages in (
            ("usage", usage, usage_languages),
            ("current", current, current_languages),
            ("pool", pool, pool_languages),
        )
    }
    return Candidates(
        usage=parts["usage"],
        current=parts["current"],
        pool=parts["pool"],
        usage_clusters=space.assign_transformed(parts["usage"]),
        current_clusters=space.assign_transformed(parts["current"]),
        pool_clusters=space.assign_transformed(parts["pool"]),
        n_clusters=space.n_clusters,
        pool_languages=tuple(pool_languages),
        pool_costs=np.ones(len(pool), dtype=np.int64) if pool_costs is None else np.asarray(pool_costs, dtype=np.int64),
        target_language=target_language,
        current_answers=current_answers,
        pool_answers=pool_answers,
    )
