"""What a strategy may look at, what it is, and what it returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from compass.errors import DataError, SelectionError
from compass.selection.features import Features
from compass.semantic.arrays import FloatArray, IntArray, RealArray, StoredRows
from compass.semantic.space import SemanticSpace

UNITS = ("examples", "tokens")
"""Units of a budget."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """All that a strategy sees: vectors, clusters, languages, costs, classes; never a text or a model."""

    usage: FloatArray
    """(n_U, d) unit rows in the space's language-free form: what users ask for."""
    train: FloatArray
    """(n_D, d) unit rows: the training data; may be empty."""
    pool: FloatArray
    """(n_A, d) unit rows: what can be picked. They may be stored (`semantic.blocks`): index them, by the block."""
    usage_clusters: IntArray
    train_clusters: IntArray
    pool_clusters: IntArray
    n_clusters: int
    pool_languages: Sequence[str]
    """n_A BCP-47 tags."""
    pool_costs: IntArray
    """(n_A,) what a row takes of the budget: 1 in examples, its length in tokens."""
    target_language: str
    unit: str = "examples"
    """Unit of the budget: `examples` or `tokens`."""
    train_classes: IntArray | None = None
    """(n_D,) class of each row's response, the same number for the same class, -1 for free text."""
    pool_classes: IntArray | None = None
    """(n_A,) the same for the pool, in the same numbers."""
    features: Features = field(default=Features(), kw_only=True)
    """What the strategy names in `needs`."""

    def __post_init__(self) -> None:
        """Raise DataError if the arrays do not fit together."""
        dimensions = self.pool.shape[1] if self.pool.ndim == 2 else None
        for name in ("usage", "train", "pool"):
            vectors, clusters = getattr(self, name), getattr(self, f"{name}_clusters")
            if vectors.ndim != 2 or vectors.shape[1] != dimensions:
                raise DataError(f"candidates: {name} has shape {vectors.shape}, expected (n, {dimensions}).")
            if len(vectors) != len(clusters):
                raise DataError(f"candidates: {name} has {len(vectors)} vectors and {len(clusters)} clusters.")
            if len(clusters) and (clusters.min() < 0 or clusters.max() >= self.n_clusters):
                raise DataError(f"candidates: a cluster of {name} lies outside 0 to {self.n_clusters - 1}.")
        if self.unit not in UNITS:
            raise DataError(f"candidates: unit must be one of {', '.join(UNITS)}; got {self.unit!r}.")
        if (self.train_classes is None) != (self.pool_classes is None):
            raise DataError("candidates: classes are given for one of training data and pool; give both or none.")
        if self.train_classes is not None and len(self.train_classes) != len(self.train):
            raise DataError(
                f"candidates: the training data has {len(self.train)} rows and {len(self.train_classes)} classes."
            )
        classes = self.pool if self.pool_classes is None else self.pool_classes
        for name, length in (
            ("languages", len(self.pool_languages)),
            ("costs", len(self.pool_costs)),
            ("classes", len(classes)),
        ):
            if length != len(self.pool):
                raise DataError(f"candidates: the pool has {len(self.pool)} rows and {length} {name}.")
        self.features.check(len(self.usage), len(self.pool))
        if len(self.pool_costs) and self.pool_costs.min() < 1:
            raise DataError(f"candidates: a pool row costs {self.pool_costs.min()}; each row costs at least 1.")

    @property
    def mean_cost(self) -> float:
        """What a pool row takes of the budget on average."""
        return float(np.mean(self.pool_costs)) if len(self.pool_costs) else 1.0

    @property
    def least_cost(self) -> int:
        """What the pool's shortest row takes of the budget: with less left, nothing can be picked any more."""
        return int(self.pool_costs.min(initial=np.iinfo(np.int64).max))

    @property
    def supply(self) -> IntArray:
        """(K,) what the pool holds of each cluster, in units of the budget."""
        return np.bincount(self.pool_clusters, weights=self.pool_costs, minlength=self.n_clusters).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ClassAccount:
    """What usage asks of each class and what it gets; (G,) each."""

    classes: IntArray
    """Their numbers, as in `Candidates`; -1 stands for all free text together."""
    expected: RealArray
    """Share of usage that is expected to ask for it; an estimate, for usage has no responses."""
    train: IntArray
    """Training rows."""
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
    """(K,) what each cluster asks for: its quota if the pool were endless."""
    supply: IntArray
    """(K,) what the pool holds of each cluster."""
    picked: IntArray
    """(K,) what was picked of it."""
    unmet: RealArray
    """(K,) demand that was not met in the cluster itself; the budget may have gone to other clusters."""
    spent: int
    shortfall: int
    """Budget that could not be spent on anything the strategy wants."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """Rows that a cap passed over or that were taken in spite of it: what happened -> rows."""
    classes: ClassAccount | None = None
    """Where the budget was split over classes."""


class Strategy(Protocol):
    """A rule that picks pool rows: a frozen dataclass of its own parameters, in a file of its own.

    `dataclasses.asdict` of a strategy tells it from the same one with other parameters.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    @property
    def language_removal(self) -> str | None:
        """Removal that the strategy needs of its space; None takes the configured one."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Fields of `Features` without which it cannot pick."""
        ...

    def select(self, candidates: Candidates, budget: int, seed: int) -> Selection:
        """Pick rows of the pool that cost no more than `budget` together. The same seed gives the same rows."""
        ...


def parameter(default: Any, help: str, *, low: float | None = None, high: float | None = None) -> Any:
    """Declare a strategy's own parameter: its default, one line of help, and its bounds, which the catalogue checks."""
    return field(default=default, metadata={"help": help, "low": low, "high": high})


def build_candidates(
    space: SemanticSpace,
    *,
    usage: FloatArray,
    train: FloatArray,
    pool: FloatArray | StoredRows,
    usage_languages: Sequence[str],
    train_languages: Sequence[str],
    pool_languages: Sequence[str],
    target_language: str,
    pool_costs: IntArray | None = None,
    unit: str = "examples",
    train_classes: IntArray | None = None,
    pool_classes: IntArray | None = None,
    seed: int | None = None,
) -> Candidates:
    """Place encoder vectors in a space and put together what strategies may see. vectors: (n, d) as encoded.

    pool may be stored rows (`semantic.blocks`), which stay where they are. pool_costs None: each row costs 1. seed: the
    strategy's, so that a stored pool's hashes are found on the way. Raises DataError if lengths or dimensions differ,
    SelectionError if usage or pool is empty.
    """
    for name, rows in (("usage sample", usage), ("pool", pool)):
        if not len(rows):
            raise SelectionError(
                f"The {name} is empty: nothing can be selected. Check its source and what cleaning dropped."
            )

    def placed(vectors: FloatArray | StoredRows, languages: Sequence[str]) -> FloatArray:
        return space.transform(
            vectors if len(vectors) else np.empty((0, space.dimensions), dtype=np.float32), languages
        )

    e, d, a = placed(usage, usage_languages), placed(train, train_languages), placed(pool, pool_languages)
    return Candidates(
        usage=e,
        train=d,
        pool=a,
        usage_clusters=space.assign_transformed(e),
        train_clusters=space.assign_transformed(d),
        pool_clusters=space.assign_transformed(a, seed),
        n_clusters=space.n_clusters,
        pool_languages=tuple(pool_languages),
        pool_costs=_all_ones(len(pool)) if pool_costs is None else np.asarray(pool_costs, dtype=np.int64),
        target_language=target_language,
        unit=unit,
        train_classes=train_classes,
        pool_classes=pool_classes,
    )


def _all_ones(n: int) -> IntArray:
    """Return n ones that take the room of one."""
    return np.broadcast_to(np.int64(1), n)
