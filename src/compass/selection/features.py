"""What some strategies look at besides vectors and clusters: counts, distances and other vectors; never a text.

A strategy names the fields of `Features` that it needs in its attribute `needs`; the recipe fills those alone, for some
of them are slow to come by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from compass.errors import DataError, SelectionError
from compass.semantic.arrays import FloatArray, IntArray

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Ngrams:
    """Hashed n-gram counts of texts."""

    usage: Any
    """(n_E, b) scipy CSR matrix of counts."""
    pool: Any
    """(n_A, b) in the same buckets."""


@dataclass(frozen=True, eq=False)
class ModelVectors:
    """Unit vectors that the base model itself gives to texts."""

    usage: FloatArray
    pool: FloatArray


@dataclass(frozen=True, eq=False)
class Gradients:
    """Unit vectors of what rows would teach an adapter."""

    usage: FloatArray
    """(m, k) of the usage rows that have a response."""
    usage_rows: IntArray
    """(m,) their places in the usage sample."""
    pool: FloatArray
    """(n_A, k)."""


@dataclass(frozen=True, eq=False)
class Typology:
    """How far the pool's languages are from the target language, and which of them are its relatives."""

    distances: Mapping[str, Mapping[str, float]]
    """Pool language -> category -> distance in [0, 1]; what is not known is left out."""
    relatives: frozenset[str]
    """Pool languages of the target language's family, itself included."""


@dataclass(frozen=True)
class TransferResult:
    """How well training on one language served another."""

    target: str
    source: str
    score: float
    """Of the target's test after training on the source; higher is better, comparable within a target."""
    features: Mapping[str, float]
    """The features of the pair by name (`strategies.langrank.FEATURES`); what is not known is left out."""


@dataclass(frozen=True, eq=False)
class Features:
    """Optional knowledge about the candidates; None: not read."""

    ngrams: Ngrams | None = None
    model_vectors: ModelVectors | None = None
    gradients: Gradients | None = None
    typology: Typology | None = None
    text_statistics: Mapping[str, Mapping[str, float]] | None = None
    """Pool language -> statistics of its rows against the target's: the first part of langrank's features."""
    transfer_results: tuple[TransferResult, ...] | None = None
    given: IntArray | None = None
    """(m,) different pool rows in the order in which they are to be taken."""

    def check(self, n_usage: int, n_pool: int) -> None:
        """Raise DataError if a part has other numbers of rows than the candidates."""
        for name in ("ngrams", "model_vectors"):
            part = getattr(self, name)
            if part is not None and (part.usage.shape[0], part.pool.shape[0]) != (n_usage, n_pool):
                raise DataError(
                    f"candidates: {name} has {part.usage.shape[0]} usage and {part.pool.shape[0]} pool rows, expected "
                    f"{n_usage} and {n_pool}."
                )
        if self.gradients is not None and len(self.gradients.pool) != n_pool:
            raise DataError(f"candidates: gradients has {len(self.gradients.pool)} pool rows, expected {n_pool}.")
        if self.given is not None:
            inside = (self.given >= 0) & (self.given < n_pool)
            if not inside.all() or len(set(self.given.tolist())) < len(self.given):
                raise DataError(f"candidates: given must hold different rows from 0 to {n_pool - 1}.")


def required(value: T | None, name: str, strategy: str) -> T:
    """Return what a strategy needs. Raises SelectionError if it was not read."""
    if value is None:
        raise SelectionError(
            f"Strategy {strategy!r} needs {name}, which the candidates do not carry. Read it with "
            f"compass.steps.features.read_features and hand it in: dataclasses.replace(candidates, features=...)."
        )
    return value
